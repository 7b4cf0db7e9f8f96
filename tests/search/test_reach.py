"""Whether every node reaches the workspace; Ray is played by functions that answer at once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search import reach
from search.errors import ClusterError
from search.reach import answer, require_reach


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a cluster whose nodes answer by the functions given."""

    def make(*answers: Any) -> None:
        by_node = {f"n{i}": each for i, each in enumerate(answers)}
        listed = [
            {"Alive": True, "NodeID": node, "NodeManagerAddress": f"10.0.0.{i}"} for i, node in enumerate(by_node)
        ]
        pinned = SimpleNamespace(remote=lambda place, token, node: (node, by_node[node](place, token, node)))
        ray = SimpleNamespace(
            nodes=lambda: [*listed, {"Alive": False}],
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
    def elsewhere(place: Path, token: str, node: str) -> str:
        other = tmp_path / "elsewhere" / place.name
        other.mkdir(parents=True)
        (other / "token").write_text(token)
        return answer(other, token, node)

    nodes(
        answer, lambda place, token, node: answer(place / "not here", token, node), elsewhere,
        lambda place, token, node: answer(place, "another token", node), lambda *_: None,
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


def test_a_node_alone_is_not_asked(tmp_path: Path, nodes: Any) -> None:
    nodes(lambda *_: pytest.fail("asked"))
    require_reach(tmp_path)
