"""What needs no cluster: judging what was seen, what travels, MLflow started again."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from search.errors import ClusterError
from search.remote import agent, luggage, tracking_server, verdicts
from search.remote.cluster_file import read_cluster
from search.remote.requirements import required

CLUSTER = read_cluster(Path(__file__).parents[2] / "cluster.yaml")
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
    with luggage.packed(tmp_path, tmp_path / "spaces" / "a.yaml", ["weights/w.safetensors", "none.pt"]) as made:
        travels = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert travels == {"spaces/a.yaml", "lesion/data/x.py", "weights/w.safetensors", "costs.csv"}
    assert not made.exists()


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
