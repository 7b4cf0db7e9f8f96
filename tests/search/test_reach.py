"""Whether every node reaches the workspace; Ray is played by functions that answer at once."""

import platform
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_training import make_data

from lesion.data import travel
from lesion.data.packed import PackedDataset
from search import reach, session
from search.errors import ClusterError
from search.reach import EVERY, PATIENCE, Data, Newcomers, answer, require_reach
from search.session import Session


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a cluster whose nodes answer by the functions given."""

    def make(*answers: Any, gone: tuple[int, ...] = ()) -> None:
        by_node = {f"n{i}": each for i, each in enumerate(answers)}
        listed = [
            {"Alive": i not in gone, "NodeID": node, "NodeManagerAddress": f"10.0.0.{i}"}
            for i, node in enumerate(by_node)
        ]
        pinned = SimpleNamespace(remote=lambda *asked: (asked[2], by_node[asked[2]](*asked)))
        ray = SimpleNamespace(
            nodes=lambda: [*listed, {"Alive": False, "NodeID": "x", "NodeManagerAddress": ""}],
            remote=lambda **_: lambda function: SimpleNamespace(options=lambda **_: pinned),
            wait=lambda asked, **_: ([each for each in asked if each[1] is not None], []),
            get=lambda asked: asked[1],
        )
        monkeypatch.setattr(reach, "ray", ray)
        monkeypatch.setattr(reach, "NodeAffinitySchedulingStrategy", lambda node, soft: node)

    return make


def test_nodes_that_share_the_workspace_pass_and_leave_nothing(tmp_path: Path, nodes: Any) -> None:
    nodes(answer, answer)
    require_reach(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_each_node_that_does_not_is_named(tmp_path: Path, nodes: Any) -> None:
    def another(place: Path, token: str, node: str, data: Data | None) -> str:
        other = tmp_path / "elsewhere" / place.name
        other.mkdir(parents=True)
        (other / "token").write_text(token)
        return answer(other, token, node, data)

    nodes(
        answer, elsewhere, another, lambda place, token, node, data: answer(place, "another token", node, data),
        lambda *_: None,
    )  # fmt: skip
    with pytest.raises(ClusterError) as told:
        require_reach(tmp_path, seconds=1)
    first, second, third, fourth, fix = str(told.value).splitlines()
    assert first.startswith(f"node 10.0.0.1: cannot read and write {tmp_path}")
    assert first.endswith("(No such file or directory)")
    assert second == f"node 10.0.0.2: wrote to another {tmp_path} than this machine reads"
    assert third == f"node 10.0.0.3: reads another {tmp_path}"
    assert fourth == "node 10.0.0.4: did not answer in 1 s"
    assert "every node mounts at the same path" in fix


def test_of_a_node_that_does_not_answer_the_address_of_the_data_is_named(tmp_path: Path, nodes: Any) -> None:
    """An S3 endpoint that a firewall swallows keeps a node as silent as a mount that hangs."""
    data = Data(tmp_path, "0" * 64, "s3://lab/isic")
    nodes(lambda *_: "", lambda *_: None)
    with pytest.raises(ClusterError) as raised:
        require_reach(tmp_path, data, seconds=1)
    silent = f"node 10.0.0.1: did not answer in 1 s: it may wait for {tmp_path}, or for s3://lab/isic"
    assert str(raised.value).splitlines()[1:] == [silent, reach.FIX, reach.SOURCE_FIX]
    told: list[str] = []
    clock = Clock()
    nodes(answer)
    newcomers = Newcomers(tmp_path, told.append, data, clock)
    nodes(answer, lambda *_: None)
    for clock.seconds in (EVERY, PATIENCE + 2 * EVERY, PATIENCE + 4 * EVERY):
        newcomers.look()
    assert told == [f"node 10.0.0.1: joined, and did not answer in 120 s; does it reach {tmp_path}, and s3://lab/isic?"]


def test_a_node_alone_is_not_asked(tmp_path: Path, nodes: Any) -> None:
    nodes(lambda *_: pytest.fail("asked"))
    require_reach(tmp_path)


def without(data: Path) -> Any:
    """A node that mounts the workspace, and on which `data` are what lies in the folder of this name."""
    return lambda place, token, node, asked: answer(place, token, node, Data(data, asked.content_hash))


def test_data_that_a_node_does_not_read_are_named_with_what_to_do(tmp_path: Path, nodes: Any) -> None:
    path, place = make_data(tmp_path / "head"), tmp_path / "workspace"
    place.mkdir()
    data = Data(path, PackedDataset.open(path).content_hash)
    nodes(answer, answer)
    require_reach(place, data)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "manifest.json").write_text("{")
    nodes(answer, without(tmp_path / "nothing"), without(make_data(tmp_path / "other", label=1)), without(torn))
    with pytest.raises(ClusterError) as told:
        require_reach(place, data)
    first, second, third, fix = str(told.value).splitlines()
    assert first == f"node 10.0.0.1: does not read the data {tmp_path}/nothing (No such file or directory)"
    assert second.startswith("node 10.0.0.2: does not read the data ")
    assert second.endswith(" that this machine reads: another set lies there")
    assert third.endswith("torn (its manifest.json is damaged)")
    assert "on storage that every node mounts at the same path, or give their address" in fix
    assert "--data file:///" in fix
    nodes(answer, elsewhere, without(torn))
    with pytest.raises(ClusterError, match=r"(?s)--workspace.*\nput the data"):
        require_reach(place, data)
    assert list(place.iterdir()) == []


def test_a_node_that_joins_without_the_data_ends_the_search(tmp_path: Path, nodes: Any) -> None:
    clock = Clock()
    nodes(answer)
    newcomers = Newcomers(tmp_path, pytest.fail, Data(tmp_path / "data", "1234"), clock)
    clock.seconds = EVERY
    nodes(answer, answer)
    with pytest.raises(ClusterError, match=r"node 10\.0\.0\.1: does not read the data .*\nput the data on storage"):
        newcomers.look()
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_copy_the_data_is_named_with_what_to_do(
    tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(travel.VARIABLE, str(tmp_path / "node"))
    path, place = make_data(tmp_path / "there"), tmp_path / "workspace"
    place.mkdir()
    data = Data(tmp_path / "the driver's", PackedDataset.open(path).content_hash, path.as_uri())
    nodes(answer, answer)
    require_reach(place, data)

    def full(*asked: Any) -> str:
        with monkeypatch.context() as disk:
            disk.setattr(travel, "SPARE", 1 << 60)
            return answer(*asked)

    nodes(answer, full, answer)
    with pytest.raises(ClusterError) as told:
        require_reach(place, data)
    problem, fix = str(told.value).splitlines()
    assert problem.startswith(f"node 10.0.0.1: cannot copy the data: {platform.node()}: file://")
    assert "GiB are free" in problem
    assert "~/.aws" in fix
    assert "LESION_NODE_DATA" in fix
    nodes(answer, full, elsewhere)
    with pytest.raises(ClusterError, match=r"(?s)--workspace.*\ngive those nodes what the address asks for"):
        require_reach(place, data)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("source", ["", "file:///shared/data/tiny"])
def test_a_session_asks_for_data_by_path_and_for_those_that_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    asked: list[Any] = []
    job = SimpleNamespace(source=source, data=tmp_path / "data", data_hash="1234")
    made: Any = SimpleNamespace(
        plan=SimpleNamespace(address=None, job=job, workspace=SimpleNamespace(path=tmp_path), warn=pytest.fail),
        interrupts=SimpleNamespace(install=lambda: None), _run_seated=lambda: "complete",
    )  # fmt: skip
    monkeypatch.setattr(session, "joined", lambda address: nullcontext())
    monkeypatch.setattr(session, "require_reach", lambda folder, data: asked.append(data))
    monkeypatch.setattr(
        session, "Newcomers", lambda folder, tell, data: asked.append(data) or SimpleNamespace(close=lambda: None)
    )
    assert Session._run_missing(made) == "complete"
    assert asked == [Data(tmp_path / "data", "1234", source)] * 2


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def elsewhere(place: Path, token: str, node: str, data: Data | None) -> str:
    return answer(place / "not here", token, node, data)


def silent(*_: Any) -> None:
    return None


def test_nodes_that_join_are_asked_once_each_and_leave_nothing(tmp_path: Path, nodes: Any) -> None:
    asked: list[str] = []

    def counted(place: Path, token: str, node: str, data: Data | None) -> str:
        asked.append(node)
        return answer(place, token, node, data)

    told: list[str] = []
    clock = Clock()
    nodes(counted)
    newcomers = Newcomers(tmp_path, told.append, clock=clock)
    for _ in range(3):
        nodes(counted, counted, counted)
        newcomers.look()
        assert clock.seconds or not asked, "it looks every few seconds"
        clock.seconds += EVERY
    newcomers.look()
    assert asked == ["n1", "n2"]
    assert (list(tmp_path.iterdir()), told) == ([], [])


def test_a_node_that_joins_without_the_workspace_ends_the_search(tmp_path: Path, nodes: Any) -> None:
    clock = Clock()
    nodes(answer)
    newcomers = Newcomers(tmp_path, pytest.fail, clock=clock)
    clock.seconds = EVERY
    nodes(answer, elsewhere)
    with pytest.raises(ClusterError, match=r"node 10\.0\.0\.1: cannot read and write .*\nput the workspace on storage"):
        newcomers.look()
    assert list(tmp_path.iterdir()) == []


def test_one_that_does_not_answer_is_told_and_one_that_has_gone_is_not(tmp_path: Path, nodes: Any) -> None:
    told: list[str] = []
    clock = Clock()
    nodes(answer)
    newcomers = Newcomers(tmp_path, told.append, clock=clock)
    clock.seconds = EVERY
    nodes(answer, silent, silent)
    newcomers.look()
    nodes(answer, silent, silent, gone=(2,))
    for clock.seconds in (PATIENCE, PATIENCE + 3 * EVERY, PATIENCE + 5 * EVERY):
        newcomers.look()
    assert told == [f"node 10.0.0.1: joined, and did not answer in 120 s; does it reach {tmp_path}?"]
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_full_just_now_is_asked_about_again(
    tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    nodes(answer)
    newcomers = Newcomers(tmp_path / "away", pytest.fail, clock=clock)
    nodes(answer, elsewhere)
    clock.seconds = EVERY
    newcomers.look()
    (tmp_path / "away").mkdir()
    clock.seconds = 2 * EVERY
    with pytest.raises(ClusterError, match="cannot read and write"):
        newcomers.look()


def test_a_session_ends_with_what_a_machine_that_joined_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ClusterError("node 10.0.0.1: reads another workspace")

    def look() -> None:
        raise problem

    made: Any = SimpleNamespace(_require_unchanged=lambda: None, _newcomers=SimpleNamespace(look=look), problem=None)
    made.plan, made.missing, made._pause = None, 3, lambda: Session._pause(made)
    monkeypatch.setattr(session, "seats_of", lambda plan, missing, pause: pause())
    with pytest.raises(ClusterError) as raised:
        Session._run_seated(made)
    assert raised.value is problem
