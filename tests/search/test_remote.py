"""What needs no cluster: judging what was seen, what travels, MLflow started again."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.cli import build_parser, main
from search.commands import remote_search
from search.errors import ClusterError
from search.preflight import missing_weights, named_weights
from search.remote import agent, checks, jobs, luggage, tracking_server, verdicts
from search.remote.cluster_file import WORKER_PORTS, Cluster, read_cluster
from search.remote.jobs import Jobs
from search.remote.requirements import required
from search.space import load

ROOT = Path(__file__).parents[2]
CLUSTER = read_cluster(ROOT / "cluster.yaml")
LOOK = {
    "python": platform.python_version(), "in_environment": True, "environment": "/env",
    "executable": "/usr/bin/python3", "gpus": [], "packages": required(),
}  # fmt: skip


def test_the_agent_sees_this_machine() -> None:
    seen = agent.look(["numpy", "no-such-package"])
    assert seen["python"] == platform.python_version()
    assert seen["packages"]["numpy"]
    assert seen["packages"]["no-such-package"] is None
    assert 0 < seen["memory"]["free"] <= seen["memory"]["total"]


def test_many_ports_that_drop_packets_are_answered_for_within_one_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(place: tuple[str, int], timeout: float) -> None:
        time.sleep(timeout)
        raise TimeoutError(f"{place} dropped")

    monkeypatch.setattr(socket, "create_connection", dropped)
    monkeypatch.setattr(agent, "CONNECT", 0.1)
    places = [(f"10.0.0.{machine}", port) for machine in range(20) for port in (6380, 6381)]
    began = time.monotonic()
    assert [lost[:2] for lost in agent.reach(places)] == [list(place) for place in places]
    assert time.monotonic() - began < 2, "40 of 0.1 s, one after the other, would be 4 s"
    monkeypatch.setattr(agent, "AT_ONCE", 1)
    monkeypatch.setattr(agent, "PATIENCE", 0.25)
    reasons = [why for *_, why in agent.reach(places)]
    assert (len(reasons), reasons[-1]) == (40, "not tried, for others took too long")


def test_ports_are_told_apart_by_whether_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as gone:
        open_port, closed = here.getsockname()[1], gone.getsockname()[1]
        gone.close()
        ((address, port, why),) = agent.reach([("127.0.0.1", open_port), ("127.0.0.1", closed)])
    assert (address, port, why) == ("127.0.0.1", closed, "Connection refused")


def test_both_ends_of_the_workers_ports_are_tried() -> None:
    started = (ROOT / "cluster.yaml").read_text()
    first, last = WORKER_PORTS
    assert f"--min-worker-port={first} --max-worker-port={last}" in started
    assert {first, last} <= set(checks._ports(CLUSTER, "192.0.2.11"))


def test_files_that_are_not_seen_are_waited_for_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESION_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(agent, "SEEN", 0.2)
    assert agent.write("there") is None
    began = time.monotonic()
    assert agent.read(["there", *(f"elsewhere-{i}" for i in range(9))]) == [f"elsewhere-{i}" for i in range(9)]
    assert time.monotonic() - began < 2


def test_required_packages_are_those_of_a_search_not_of_tests() -> None:
    names = required()
    assert {"ray", "torch", "optuna", "lesion-search"} <= set(names)
    assert not {"pytest", "ruff", "timm"} & set(names)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"python": "3.9.2"}, "it is Python 3.9.2, here it is"),
        ({"in_environment": False}, "no environment at /env, /usr/bin/python3 answers instead"),
    ],
)
def test_another_python_is_red(change: dict[str, Any], text: str) -> None:
    assert text in verdicts.python(LOOK | change).fix
    assert not verdicts.python(LOOK).bad


def test_packages_missing_of_another_version_or_for_cpus_only() -> None:
    assert not verdicts.packages(LOOK, required()).bad
    lacking = {**required(), "optuna": None, "mlflow": None}
    assert verdicts.packages(LOOK | {"packages": lacking}, required()).text == "no mlflow and 1 more"
    other = {**required(), "ray": "2.9.0"}
    assert "ray 2.9.0 (here 2.60" in verdicts.packages(LOOK | {"packages": other}, required()).fix
    cpu = {**required(), "torch": "2.15.0+cpu"}
    shown = verdicts.packages(LOOK | {"packages": cpu, "gpus": [{"index": "0"}]}, {**required(), "torch": "2.15.0+cpu"})
    assert "install the CUDA build" in shown.fix


def gpu(**change: Any) -> dict[str, Any]:
    return {"index": "0", "name": "H100", "total": 81920, "used": 4, "strangers": [], "ours": False} | change


def test_gpus_that_somebody_holds() -> None:
    assert verdicts.gpus([]).text == "none"
    assert verdicts.gpus([gpu(), gpu(index="1")]).text == "2 × H100 80 GB"
    # Our own trials use what is theirs.
    assert not verdicts.gpus([gpu(used=70000, ours=True)]).bad
    held = verdicts.gpus([gpu(), gpu(index="1", used=30000, strangers=["python (pid 7)"])])
    assert held.text == "1 of 2 taken"
    assert "GPU 1: held by python (pid 7)" in held.fix
    assert "CUDA_VISIBLE_DEVICES='0'" in held.fix
    # A process in a container is not shown, its memory is.
    assert "30000 of 81920 MiB in use by somebody" in verdicts.gpus([gpu(used=30000)]).fix
    assert verdicts.gpus("nvidia-smi fails: no driver").bad


def test_clocks_may_differ_by_what_was_not_measured_better() -> None:
    assert not verdicts.clock((3.0, 1.5)).bad
    assert "300 s behind" in verdicts.clock((-300.0, 0.1)).fix


def test_tokens_of_all_machines_are_one_and_private() -> None:
    one, other = {"print": "a", "mode": 0o600}, {"print": "b", "mode": 0o600}
    found = {"1": one, "2": one, "3": other, "4": None, "5": {"print": "a", "mode": 0o644}}
    assert [cell.text for cell in verdicts.tokens(found).values()] == ["ok", "ok", "another", "none", "open to all"]


def test_a_machine_without_python_and_one_without_ssh_are_told_apart() -> None:
    assert verdicts.ssh(CLUSTER, "192.0.2.11", "exec: python: not found").text == "no Python"
    assert "ssh -i" in verdicts.ssh(CLUSTER, "192.0.2.11", "Connection timed out").fix


def test_texts_and_named_weights_travel_data_and_environments_do_not(tmp_path: Path) -> None:
    for name in ("spaces/a.yaml", "lesion/data/x.py", "weights/w.safetensors", "costs.csv",
                 "data/isic/image.csv", ".venv/b.py", "env/pyvenv.cfg", "env/c.py", "work/checkpoints/d.json",
                 "photo.jpg", "weights/other.safetensors"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    named = ["weights/w.safetensors", "/mnt/lesions/on-the-machines.pth"]
    with luggage.packed(tmp_path, tmp_path / "spaces" / "a.yaml", named) as made:
        travels = files_in(made.folder)
    assert travels == {"spaces/a.yaml", "lesion/data/x.py", "weights/w.safetensors", "costs.csv"}
    assert str(made.inside) == "."
    assert not made.folder.exists()


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_weights_outside_the_folder_travel_and_their_relative_paths_stay_true(tmp_path: Path) -> None:
    written(tmp_path, "me/project/a.yaml", "shared/x.pth", "me/y.pth", "me/project/weights/z.pt", "me/secret.yaml")
    here = tmp_path / "me" / "project"
    named = ["../../shared/x.pth", "models/../../y.pth", "weights/z.pt", "../project/weights/z.pt"]
    (here / "models").mkdir()
    with luggage.packed(here, here / "a.yaml", named) as made:
        assert str(made.inside) == "me/project"
        travels = files_in(made.folder)
        assert all((made.folder / made.inside / name).is_file() for name in named)
    assert travels == {"me/project/a.yaml", "me/project/weights/z.pt", "shared/x.pth", "me/y.pth"}


def test_weights_that_are_missing_are_told_before_anything_travels(tmp_path: Path) -> None:
    written(tmp_path, "a.yaml")
    with (
        pytest.raises(ClusterError, match=r"no weights file \.\./none\.pth .*named by their full path"),
        luggage.packed(tmp_path, tmp_path / "a.yaml", ["../none.pth"]),
    ):
        pass


class Client:
    """Ray's client of jobs; keeps what is submitted, with a copy of what travels."""

    def __init__(self, keep: Path) -> None:
        self.keep, self.given = keep, {}

    def submit_job(self, **given: Any) -> None:
        self.given = given
        shutil.copytree(given["runtime_env"]["working_dir"], self.keep)

    def on_the_head(self, path: Path) -> str:
        """What the command prints where Ray runs it: at the top of the copy, through a shell."""
        variables = {"PATH": f"{path}:{os.environ['PATH']}", **self.given["runtime_env"]["env_vars"]}
        line = self.given["entrypoint"]
        return subprocess.run(
            line, shell=True, cwd=self.keep, env=variables, text=True, stdout=subprocess.PIPE, check=True
        ).stdout


def test_the_head_and_the_workers_run_where_relative_paths_are_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "my project/a.yaml", "my project/own_code.py", "shared/x.pth")
    here = tmp_path / "my project"
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "lesion-search"
    says = "import own_code, sys; print(sys.argv[1:], open('../shared/x.pth').read())"
    command.write_text(f"#!{sys.executable}\n{says}\n")
    command.chmod(0o755)
    (here / "own_code.py").write_text("")
    client = Client(tmp_path / "there")
    with luggage.packed(here, here / "a.yaml", ["../shared/x.pth"]) as made:
        Jobs(client).submit("a", ["lesion-search", "run", "a.yaml"], made)
    assert client.on_the_head(command.parent).strip() == "['run', 'a.yaml'] shared/x.pth"
    # A worker of Ray's is started at the top, with the same variables.
    worker = "import own_code; from search.remote.luggage import enter; enter(); print(open('../shared/x.pth').read())"
    variables = client.given["runtime_env"]["env_vars"]
    path = os.pathsep.join([variables["PYTHONPATH"], str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", worker], cwd=client.keep, env={**variables, "PYTHONPATH": path}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "shared/x.pth"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The client of a cluster on which no search runs, and whose jobs end at once."""
    client = Client(tmp_path / "there")

    @contextmanager
    def jobs_of(cluster: Cluster) -> Iterator[Jobs]:
        yield Jobs(client)

    monkeypatch.setattr(jobs, "jobs_of", jobs_of)
    monkeypatch.setattr(Jobs, "listed", lambda *_: [])
    monkeypatch.setattr(remote_search, "_follow", lambda *_: 0)
    return client


def test_the_readme_s_search_finds_its_weights_on_the_head(
    tmp_path: Path, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "project"
    shutil.copytree(ROOT / "spaces", here / "spaces")
    shutil.copy(ROOT / "cluster.yaml", here)
    monkeypatch.chdir(here)
    space = Path("spaces/isic2017.yaml")
    files = [file for _, file in named_weights(load(space))]
    assert files[0].startswith("../")
    written(here, *files)
    assert main(["run", str(space), "--cluster", "cluster.yaml"]) == 0
    assert there.given["entrypoint"].endswith("exec lesion-search run spaces/isic2017.yaml --address auto")
    monkeypatch.chdir(there.keep / "project")
    assert missing_weights(load(space)) == []


def test_every_option_of_a_run_travels_or_is_refused(
    tmp_path: Path, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "spaces" / "smoke.yaml", tmp_path / "a.yaml")
    shutil.copy(ROOT / "cluster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    known = set(vars(build_parser().parse_args(["run", "a.yaml"]))) - {"command", "run", "space", "cluster", "version"}
    here = {"workspace", "address"}
    given = {"data": "other", "overrides": "image_size=32", "name": "mine"}
    for option in sorted(known - here):
        words = ["--set" if option == "overrides" else f"--{option.replace('_', '-')}", given.get(option, "3")]
        assert main(["run", "a.yaml", "--cluster", "cluster.yaml", *words]) == 0
        sent = there.given["entrypoint"].replace("3.0", "3").split()
        assert words in [sent[i : i + 2] for i in range(len(sent))], option
        shutil.rmtree(there.keep)
    for option in here:
        assert main(["run", "a.yaml", "--cluster", "cluster.yaml", f"--{option}", "x"]) == 2


def test_a_folder_that_needs_nothing_from_outside_is_sent_as_ever(tmp_path: Path) -> None:
    written(tmp_path, "project/a.yaml")
    client = Client(tmp_path / "there")
    with luggage.packed(tmp_path / "project", tmp_path / "project" / "a.yaml") as made:
        Jobs(client).submit("a", ["lesion-search", "run", "a.yaml"], made)
    assert client.given["entrypoint"] == "lesion-search run a.yaml"
    assert not {"LESION_FOLDER", "PYTHONPATH"} & set(client.given["runtime_env"]["env_vars"])


def test_a_space_elsewhere_and_too_much_luggage_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "a.yaml").write_text("x")
    with (
        pytest.raises(ClusterError, match=r"is not in .*here, which is what travels"),
        luggage.packed(here, tmp_path / "a.yaml"),
    ):
        pass
    monkeypatch.setattr(luggage, "FILES", 1)
    (tmp_path / "b.yaml").write_text("x")
    with (
        pytest.raises(ClusterError, match="2 files of 0 MiB would travel"),
        luggage.packed(tmp_path, tmp_path / "a.yaml"),
    ):
        pass


def test_a_server_is_started_again_until_the_head_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_server, "PAUSES", (0.01,))
    monkeypatch.setattr(tracking_server.signal, "signal", lambda number, handler: None)
    starts = tmp_path / "starts"
    once = f"import pathlib; p = pathlib.Path({str(starts)!r}); p.open('a').write('x'); raise SystemExit(3)"
    said: list[str] = []
    tracking_server.supervise(
        [sys.executable, "-c", once], lambda: not starts.exists() or len(starts.read_text()) < 2, said.append
    )
    assert starts.read_text() == "xx"
    assert said[0] == "MLflow ended with 3; it starts again in 0.01 s"


def test_a_running_server_ends_with_the_head() -> None:
    alive = iter([True, True, True, False])
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert tracking_server._run_one(sleeper, lambda: next(alive)) is None
