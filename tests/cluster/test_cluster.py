"""The project's own cluster file on three hosts: up, green, a search through every fault that hosts have, down.

The tests are one story, in the order in which they stand here; each needs those before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_training
import hosts
import pytest
from conftest import ON_PATH, eventually, fake_trials, furnished

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

SPACE = """
data: tiny
objective: mean_auc
budget: {trials: 30, epochs: 6}
scheduler: none
space:
  image_size: 32
  optimizer: {adamw: {lr: {float: [1.0e-4, 1.0e-2], log: true}}}
"""
LISTING = """
import collections, mlflow
runs = mlflow.MlflowClient().search_runs(["1"], max_results=1000)
numbers = sorted(int(run.data.tags.get("lesion.trial", -1)) for run in runs)
print(collections.Counter(run.info.status for run in runs), numbers == list(range(-1, 30)))
"""
ASKING = """
import sys, urllib.error, urllib.request
url = "http://127.0.0.1:5000/api/2.0/mlflow/experiments/search?max_results=1"
try:
    print(urllib.request.urlopen(urllib.request.Request(url, headers={"Host": sys.argv[1]})).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
LESION = f"{ON_PATH}; lesion-search"
THERE = "--cluster cluster.yaml"
NOT_OURS = ("/tmp/ray", "/tmp/torchinductor_")
"""What `ray up` and `ray down` keep on the machine that gives them, and torch wherever it is imported."""
CUT = 10.0
"""Seconds that a cable is out: Ray gives a host up after some fifteen."""


@pytest.fixture(scope="module")
def lab(room: Path) -> Iterator[hosts.Lab]:
    with hosts.lab(room / "cluster", ["desk", "head", "one", "two"]) as made:
        furnished(made)
        fake_training.make_data(made.shared / "workspace")
        for name in ("head", "one", "two"):
            fake_trials(made[name])
        (made["desk"].home / "tiny.yaml").write_text(SPACE)
        (made["desk"].home / "before.json").write_text(json.dumps(sorted(made["desk"].files())))
        try:
            made["desk"].run(f"{ON_PATH}; cd lesion-search; ray up -y ~/cluster.yaml", timeout=400)
            yield made
        finally:
            # What a failed test would be explained by; the link session_latest is the host's own.
            if (made["desk"].home / "watched.txt").exists():
                print(f"--- watched\n{(made['desk'].home / 'watched.txt').read_text()[-4000:]}")
            for host in made.hosts.values():
                for log in (host.folder / "tmp" / "ray").glob("session_2*/logs/*"):
                    if log.name in ("monitor.out", "raylet.out", "raylet.err", "dashboard_agent.log"):
                        said = log.read_text(errors="replace")
                        # What a raylet gives up for stands before the trace of its stack.
                        print(f"--- {host.name}: {log.name}\n{said[:1500]}\n…\n{said[-1500:]}")


def nodes_alive(lab: hosts.Lab) -> int:
    done = lab["head"].run(f"{ON_PATH}; RAY_AUTH_MODE=token ray list nodes --format json", check=False)
    if done.returncode:
        return 0
    return sum(node["state"] == "ALIVE" for node in json.loads(done.stdout))


def study(lab: hosts.Lab) -> dict[str, Any]:
    done = lab["desk"].run(f"{LESION} status tiny --top 0 --json {THERE}", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"trials": []}


def ended(lab: hosts.Lab) -> int:
    return sum(trial["state"] == "complete" for trial in study(lab)["trials"])


def ran_on(lab: hosts.Lab) -> list[str]:
    file = lab.shared / "workspace" / "checkpoints" / "tiny" / "hosts.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_ray_up_brings_every_host_and_check_is_green(lab: hosts.Lab) -> None:
    eventually(lambda: nodes_alive(lab) == 3, "three nodes", 240)
    done = lab["desk"].run(f"{LESION} cluster check --json {THERE}", check=False)
    reports = json.loads(done.stdout)
    red = {f"{each['node']} {name}": cell for each in reports for name, cell in each.items() if name in each and
           isinstance(cell, dict) and not cell["ok"]}  # fmt: skip
    assert (done.returncode, red) == (0, {})
    assert [report["role"] for report in reports] == ["head", "worker", "worker"]


def test_a_client_without_the_token_is_refused(lab: hosts.Lab) -> None:
    gcs = f"--address {lab['head'].address}:6379"
    desk = lab["desk"]
    for told in ("RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=somebody-else-s"):
        done = desk.run(f"{ON_PATH}; {told} ray status {gcs}", check=False)
        assert done.returncode != 0
        assert "InvalidAuthToken" in done.stderr
    done = desk.run(f"{ON_PATH}; RAY_AUTH_TOKEN=somebody-else-s lesion-search logs {THERE}", check=False)
    assert done.returncode == 1
    assert "refuses this machine's token" in done.stderr
    assert desk.run(f"{ON_PATH}; RAY_AUTH_MODE=token ray status {gcs}").returncode == 0


def test_dashboard_and_mlflow_listen_on_loopback_alone(lab: hosts.Lab) -> None:
    for port in (8265, 5000):
        address = lab["head"].address
        done = lab["desk"].run(
            f"python3 -c 'import socket; socket.create_connection((\"{address}\", {port}), 3)'", check=False
        )
        assert "ConnectionRefusedError" in done.stderr
    page = 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:5055/health").read())'
    wait = f"for i in $(seq 50); do python3 -c '{page}' 2> /dev/null && break; sleep 0.3; done"
    done = lab["desk"].run(f"{LESION} ui --port 5055 {THERE} > /dev/null & {wait}; kill $!; wait")
    assert "OK" in done.stdout


def test_mlflow_answers_to_its_own_names_alone(lab: hosts.Lab) -> None:
    head = lab["head"]
    (head.home / "asking.py").write_text(ASKING)
    for name, status in {"127.0.0.1:5000": "200", "localhost:5055": "200", "lab.example.org": "403"}.items():
        assert head.run(f"{ON_PATH}; python asking.py {name}").stdout.strip() == status, name


def test_a_search_ends_with_exactly_its_trials_whatever_happens_to_hosts(lab: hosts.Lab) -> None:
    desk, head, one, two = lab.hosts.values()
    watching = desk.popen(
        f"{ON_PATH}; exec lesion-search run tiny.yaml --gpus-per-trial 0.5 {THERE} > watched.txt 2>&1"
    )
    eventually(lambda: len({line.split()[0] for line in ran_on(lab)}) == 3, "trials on all three hosts", 300)
    assert {line.split()[2] for line in ran_on(lab)} == {"0.5"}

    desk.run("pkill -INT -f '[l]esion-search run'")
    assert watching.wait(120) == 0
    assert "left running" in (desk.home / "watched.txt").read_text()

    one.link(up=False)
    time.sleep(CUT)
    one.link(up=True)
    head.run("pkill -KILL -f '[m]lflow server'")
    two.cut_power()
    eventually(lambda: any(trial["attempt"] > 1 for trial in study(lab)["trials"]), "a trial has moved", 240)

    began = time.monotonic()
    stopped = desk.run(f"{LESION} stop tiny {THERE}", timeout=180)
    assert time.monotonic() - began < 60
    assert "tiny has stopped; nothing is lost" in stopped.stdout
    done = desk.run(f"{LESION} run tiny.yaml --gpus-per-trial 0.5 {THERE}", timeout=300)
    assert "all 30 trials have ended" in done.stdout
    assert desk.run(f"{LESION} logs tiny {THERE}").stdout in done.stdout
    trials = study(lab)["trials"]
    assert sorted(trial["trial"] for trial in trials) == list(range(30))
    assert [trial for trial in trials if trial["state"] != "complete"] == []
    assert {trial["epoch"] for trial in trials} == {6}


def test_mlflow_was_started_again_and_holds_each_trial_once(lab: hosts.Lab) -> None:
    (lab["head"].home / "listing.py").write_text(LISTING)
    done = lab["head"].run(". ~/.lesion-cluster; lesion-search sync tiny; python listing.py")
    assert "Counter({'FINISHED': 31}) True" in done.stdout
    assert "it starts again" in (lab["head"].home / "lesion-tracking.log").read_text()


def test_a_host_that_comes_back_joins_again(lab: hosts.Lab) -> None:
    lab["two"].boot()
    eventually(lambda: nodes_alive(lab) == 3, "the second worker is back", 240)


def test_a_host_that_does_not_see_the_storage_is_named_before_the_first_trial(lab: hosts.Lab) -> None:
    two = lab["two"]
    two.storage(seen=False)
    try:
        done = lab["desk"].run(f"{LESION} run tiny.yaml --name unseen --gpus-per-trial 0.5 {THERE}", check=False)
    finally:
        two.storage(seen=True)
    assert done.returncode == 2, done.stdout
    workspace = f"{hosts.STORAGE}/workspace"
    assert f"node {two.address}: cannot read and write {workspace} (No such file or directory)" in done.stdout
    assert "put the workspace on storage that every node mounts at the same path" in done.stdout
    assert not any(f"node {lab[name].address}:" in done.stdout for name in ("head", "one"))
    assert not (lab.shared / "workspace" / "checkpoints" / "unseen").exists()


def test_ray_down_leaves_nothing_behind(lab: hosts.Lab) -> None:
    desk = lab["desk"]
    desk.run(f"{ON_PATH}; cd lesion-search; ray down -y ~/cluster.yaml", timeout=120)
    for host in lab.hosts.values():
        eventually(lambda host=host: host.processes() == [], f"nothing runs on {host.name}", 90)  # type: ignore[misc]
        assert host.ports() == [], host.name
    before = set(json.loads((desk.home / "before.json").read_text()))
    left = {path for path in desk.files() - before if not path.startswith(NOT_OURS)}
    assert left == {"/root/before.json", "/root/watched.txt"}, "what our own commands left on the desk"
