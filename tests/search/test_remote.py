"""What needs no cluster: looking around, judging what was seen, MLflow started again."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.cli import main
from search.errors import ClusterError
from search.remote import agent, checks, tracking_server, verdicts
from search.remote.asking import asking
from search.remote.cluster_file import WORKER_PORTS, read_cluster
from search.remote.requirements import required
from search.remote.ssh import hearing, on_head, told
from search.workspace import open_workspace

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
        ({"python": "3.9.2"}, f"have PYTHON in {CLUSTER.path} name a Python {platform.python_version()}, remove /env"),
        ({"in_environment": False}, "no environment at /env, /usr/bin/python3 answers instead"),
    ],
)
def test_another_python_is_red(change: dict[str, Any], text: str) -> None:
    assert text in verdicts.python(CLUSTER, LOOK | change).fix
    assert not verdicts.python(CLUSTER, LOOK).bad


def test_packages_missing_of_another_version_or_for_cpus_only() -> None:
    assert not verdicts.packages(LOOK, required()).bad
    lacking = {**required(), "optuna": None, "mlflow": None}
    assert verdicts.packages(LOOK | {"packages": lacking}, required()).text == "no mlflow and 1 more"
    other = {**required(), "ray": "2.9.0"}
    assert "ray 2.9.0 (here 2.60" in verdicts.packages(LOOK | {"packages": other}, required()).fix
    cpu = {**required(), "torch": "2.15.0+cpu"}
    shown = verdicts.packages(LOOK | {"packages": cpu, "gpus": [{"index": "0"}]}, {**required(), "torch": "2.15.0+cpu"})
    assert "install the CUDA build" in shown.fix


def test_the_command_that_mends_packages_does_something_where_an_environment_was_finished(tmp_path: Path) -> None:
    environment = tmp_path / "env"
    (environment / "bin").mkdir(parents=True)
    (environment / ".installed").touch()
    # As where python3 is too old for the environment, which has another.
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'Python 3.11 or newer is needed'; exit 1\n")
    old.chmod(0o755)
    look = LOOK | {"packages": {**required(), "optuna": None}, "environment": str(environment)}
    look |= {"executable": sys.executable}
    (command,) = re.findall(r"'(make .*?)'", verdicts.packages(look, required()).fix)
    # The recipe in its order, up to pip, whose place a program takes that says what it is asked for.
    (environment / "bin" / "python").write_text("#!/bin/sh\necho asked: $*\n")
    (environment / "bin" / "python").chmod(0o755)
    variables = {"PATH": f"{old.parent}:{os.environ['PATH']}"}
    told = subprocess.run(command.split(), cwd=ROOT, env=variables, capture_output=True, text=True, check=True).stdout
    assert "asked: -m pip install" in told


@pytest.mark.parametrize("above", ["ray::Worker.train", "python train.py"])
def test_what_a_worker_of_ray_s_starts_is_ray_s_too(above: str) -> None:
    """As the second rank of a trial on two GPUs, and what measures a trial's memory, are started."""
    starts = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    says = "import os; print(os.getpid(), flush=True); input()"
    words = [above, "-c", starts, sys.executable, "-c", says]
    with subprocess.Popen(
        words, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        below = int(worker.stdout.readline())
        found = agent.of_ray(worker.pid), agent.of_ray(below)
        worker.communicate("\n", timeout=20)
    assert found == (above.startswith("ray::"),) * 2


def test_the_agent_sees_ray_where_it_runs(tmp_path: Path) -> None:
    before = agent.ray()
    shutil.copy(shutil.which("sleep") or "", tmp_path / "raylet")
    with subprocess.Popen([tmp_path / "raylet", "60"]) as raylet:
        assert "raylet" in agent.ray()
        raylet.kill()
        while Path(f"/proc/{raylet.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert agent.ray() == before  # one that has ended and that nobody has asked about yet runs no more


def test_a_worker_on_which_ray_did_not_start_is_red_once_the_head_is_up() -> None:
    one, two = CLUSTER.workers

    def cells(head: list[str]) -> list[str]:
        running = {CLUSTER.head: head, one: ["raylet"], two: []}
        return [verdicts.ray(CLUSTER, address, running).text for address in CLUSTER.nodes]

    assert cells(["gcs_server", "raylet"]) == ["ok", "ok", "not running"]
    assert cells(["gcs_server"]) == ["not running", "ok", "not running"]
    assert cells([]) == ["–"] * 3
    fix = verdicts.ray(CLUSTER, two, {CLUSTER.head: ["gcs_server"], two: []}).fix
    assert "/tmp/ray/session_latest/logs on the head say why" in fix
    assert f"'ray up -y {CLUSTER.path}'" in fix


def gpu(**change: Any) -> dict[str, Any]:
    return {"index": "0", "name": "H100", "total": 81920, "used": 4, "strangers": [], "ours": False} | change


def test_gpus_that_somebody_holds() -> None:
    assert verdicts.gpus(CLUSTER, []).text == "none"
    assert verdicts.gpus(CLUSTER, [gpu(), gpu(index="1")]).text == "2 × H100 80 GB"
    # Our own trials use what is theirs.
    assert not verdicts.gpus(CLUSTER, [gpu(used=70000, ours=True)]).bad
    held = verdicts.gpus(CLUSTER, [gpu(), gpu(index="1", used=30000, strangers=["python (pid 7)"])])
    assert held.text == "1 of 2 taken"
    assert "GPU 1: held by python (pid 7)" in held.fix
    assert "'export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0' in ~/.lesion-machine there" in held.fix
    assert f"'ray up -y {CLUSTER.path}'" in held.fix
    # A process in a container is not shown, its memory is.
    assert "30000 of 81920 MiB in use by somebody" in verdicts.gpus(CLUSTER, [gpu(used=30000)]).fix
    assert verdicts.gpus(CLUSTER, "nvidia-smi fails: no driver").bad


@pytest.mark.parametrize(
    ("visible", "left"),
    [(None, "01"), ("0", "0"), ("1,0", "01"), ("", ""), ("GPU-b", "1"), ("MIG-c", "01"), ("-1", "")],
)
def test_gpus_that_ray_does_not_see_are_nobody_s_business(
    visible: str | None, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    listed = [[str(i), f"GPU-{'ab'[i]}", "H100", "81920", "4"] for i in range(2)]
    monkeypatch.setattr(agent, "smi", lambda query: listed if query.startswith("gpu=") else [])
    found = agent.gpus()
    assert isinstance(found, list)
    assert "".join(gpu["index"] for gpu in found) == left


def test_what_one_machine_alone_is_told_is_read_by_ray_and_by_the_check(tmp_path: Path) -> None:
    commands = yaml.safe_load((ROOT / "cluster.yaml").read_text())["setup_commands"]
    written = [command for command in commands if command.endswith("~/.lesion-cluster")]
    look = 'echo "$LESION_WORKSPACE $CUDA_VISIBLE_DEVICES"'
    lines = [" && ".join([*written, f". ~/.lesion-cluster && {look}"]), hearing(look)]

    def seen() -> list[str]:
        variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        return [
            subprocess.check_output(["bash", "-c", line], env=variables, input=told(CLUSTER), text=True).strip()
            for line in lines
        ]

    assert seen() == ["/mnt/lesions"] * 2
    (tmp_path / ".lesion-machine").write_text("export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,2\n")
    assert seen() == ["/mnt/lesions 0,2"] * 2


SECRET = replace(CLUSTER, settings={**CLUSTER.settings, "LESION_LEDGER": "postgresql://lab:secret@db/lesions"})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a machine behind an `ssh` that runs what it is asked to, and notes with which words."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "ssh").write_text(
        f'#!/bin/bash\necho "$*" >> {tmp_path}/words\nexport HOME={home}\nexec bash -c "${{!#}}"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return home


def test_what_the_machines_are_told_stands_in_no_command_line(tmp_path: Path, machine: Path) -> None:
    with asking(replace(SECRET, workers=())) as agents:
        (seen,) = agents.ask("look", packages=["numpy"]).values()
        assert agents.ask("clock").keys() == {SECRET.head}, "the next question is heard as a question"
    assert seen["environment"] == f"{machine}/lesion-environment"
    (machine / ".lesion-cluster").write_text(f'{told(SECRET)}test -n "$LESION_LEDGER" && touch ~/heard\n')
    assert on_head(SECRET, ["cat", ".lesion-cluster"]) != 255
    assert (machine / "heard").exists()
    assert "secret" not in (tmp_path / "words").read_text()


def test_a_head_that_has_been_told_nothing_yet_says_so(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert on_head(CLUSTER, ["true"]) == 2
    assert f"there is no ~/.lesion-cluster: 'ray up -y {CLUSTER.path}' writes it" in capfd.readouterr().err
    assert not (machine / ".lesion-cluster").exists()


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


def test_the_server_of_the_head_is_on_loopback_with_its_own_names_and_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_workspace(tmp_path)

    def options() -> dict[str, str]:
        words = tracking_server.server_words(place, 5001)
        assert words[:4] == [sys.executable, "-m", "mlflow", "server"]
        return {**dict(zip(words[4::2], words[5::2], strict=True)), **tracking_server.server_variables(place)}

    monkeypatch.delenv("TRACKING_STORE", raising=False)
    usual = options()
    assert (usual["--host"], usual["--port"]) == ("127.0.0.1", "5001")
    assert usual["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{place.path}/mlflow.db"
    assert usual["--artifacts-destination"] == place.artifacts.as_uri()
    # Names of this machine's own loopback: whoever comes by another, through a page in a browser say, is sent away.
    names = usual["--allowed-hosts"].split(",")
    assert {name.partition(":")[0] for name in names} == {"localhost", "127.0.0.1"}
    store = "postgresql+psycopg://lab:secret@db/mlflow"
    monkeypatch.setenv("TRACKING_STORE", store)
    assert options() == {**usual, "MLFLOW_BACKEND_STORE_URI": store}
    assert "secret" not in " ".join(tracking_server.server_words(place, 5001))
    monkeypatch.setenv("TRACKING_STORE", "")  # as the cluster file writes it where nobody has filled it in
    assert options() == usual


@pytest.mark.parametrize(
    ("words", "url", "port"),
    [([], None, 5000), ([], "", 5000), ([], "http://127.0.0.1:5001", 5001), (["--port", "7"], "http://127.0.0.1:1", 7)],
)
def test_the_server_listens_where_the_settings_say_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], url: str | None, port: int
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(tracking_server, "supervise", lambda words, *_: begun.append(words))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if url is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    assert main(["cluster", "tracking", "--workspace", str(tmp_path), *words]) == 0
    (line,) = begun
    assert line[line.index("--port") + 1] == str(port)


@pytest.mark.parametrize("url", ["sqlite:///mlflow.db", "http://127.0.0.1", "http://127.0.0.1:many"])
def test_an_address_of_mlflow_without_a_port_is_told(url: str) -> None:
    cluster = replace(CLUSTER, settings={**CLUSTER.settings, "MLFLOW_TRACKING_URI": url})
    with pytest.raises(ClusterError, match=r"MLFLOW_TRACKING_URI is .*, must end with a port"):
        assert not cluster.tracking_port


def test_a_server_is_started_again_until_the_head_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_server, "PAUSES", (0.01,))
    monkeypatch.setattr(tracking_server.signal, "signal", lambda number, handler: None)
    starts = tmp_path / "starts"
    says = "import os, pathlib; pathlib.Path(os.environ['STARTS']).open('a').write('x'); raise SystemExit(3)"
    said: list[str] = []
    tracking_server.supervise(
        [sys.executable, "-c", says],
        {"STARTS": str(starts)},
        lambda: not starts.exists() or len(starts.read_text()) < 2,
        said.append,
    )
    assert starts.read_text() == "xx"
    assert said[0] == "MLflow ended with 3; it starts again in 0.01 s"


def test_a_running_server_ends_with_the_head() -> None:
    alive = iter([True, True, True, False])
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert tracking_server._run_one(sleeper, {}, lambda: next(alive)) is None
