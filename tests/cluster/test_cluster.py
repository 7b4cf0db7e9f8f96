"""The project's own cluster file on three hosts: up, green, a search through every fault that hosts have, down.

The tests are one story, in the order in which they stand here; each needs those before it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import fake_training
import hosts
import pytest
from conftest import ON_PATH, eventually, fake_trials, furnished
from looking import LESION, THERE, addresses_alive, checkpoints, complete, files_of, ran_on, trials

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 20
SPACE = f"""
data: tiny
objective: mean_auc
budget: {{trials: {TRIALS}, epochs: 6}}
scheduler: none
space:
  image_size: 32
  optimizer: {{adamw: {{lr: {{float: [1.0e-4, 1.0e-2], log: true}}}}}}
"""
LISTING = f"""
import collections, mlflow
runs = mlflow.MlflowClient().search_runs(["1"], max_results=1000)
numbers = sorted(int(run.data.tags.get("lesion.trial", -1)) for run in runs)
print(collections.Counter(run.info.status for run in runs), numbers == list(range(-1, {TRIALS})))
"""
ASKING = """
import sys, urllib.error, urllib.request
url = "http://127.0.0.1:5000/api/2.0/mlflow/experiments/search?max_results=1"
try:
    print(urllib.request.urlopen(urllib.request.Request(url, headers={"Host": sys.argv[1]})).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
RUN = f"{LESION} run tiny.yaml --gpus-per-trial 0.5 {THERE}"
NOT_OURS = ("/tmp/ray", "/tmp/torchinductor_", "/tmp/pymp-")
"""What Ray keeps of itself on every machine, torch wherever it is imported, and Python of a process that was killed."""
STAYS = {".lesion-cluster", ".ray", "lesion-search"}
STAYS_ON_HEAD = {
    *STAYS, "lesion-tracking.log", "ray_bootstrap_config.yaml", "ray_bootstrap_key.pem",
}  # fmt: skip
"""What `ray down` leaves in the account's home, as docs/clusters/README.md says."""
METRICS = {6384, 44217, 44227}
"""Ports where Ray says how busy it is, to anybody who may connect."""
WITH_TOKEN = {6379, 6380, 6381, 6382, 6383, 10001, 52365}
"""Ports where it does what it is told."""
HERE = Path(__file__).parent
ASKING_COSTS = 5.0
"""Seconds between two looks that each start a Python with all of Ray, beside what they wait for."""
REFUSED = {"UNAUTHENTICATED", "401", "403"}


@pytest.fixture(scope="module")
def lab(room: Path) -> Iterator[hosts.Lab]:
    with hosts.lab(room / "cluster", ["desk", "head", "one", "two"]) as made:
        furnished(made)
        fake_training.make_data(made.shared / "workspace")
        for name in ("head", "one", "two"):
            fake_trials(made[name])
        (made["desk"].home / "tiny.yaml").write_text(SPACE)
        (made["head"].home / "asking.py").write_text(ASKING)
        (made["head"].home / "listing.py").write_text(LISTING)
        for name in ("desk", "head"):
            shutil.copy(HERE / "knocking.py", made[name].home)
        before = {host.name: sorted(host.files()) for host in made.hosts.values()}
        (made.folder / "before.json").write_text(json.dumps(before))
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


def test_ray_up_brings_every_host_and_check_is_green(lab: hosts.Lab) -> None:
    eventually(lambda: len(addresses_alive(lab)) == 3, "three nodes", 360, ASKING_COSTS)
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


def test_what_listens_for_others_is_known_and_does_nothing_without_the_token(lab: hosts.Lab) -> None:
    desk, head, *workers = lab.hosts.values()
    assert desk.open_ports() == set()
    assert {place for place in head.ports() if place.endswith((":8265", ":5000"))} == {
        "127.0.0.1:8265",
        "127.0.0.1:5000",
    }
    assert head.open_ports() == WITH_TOKEN | METRICS
    for worker in workers:
        assert worker.open_ports() == WITH_TOKEN - {6379, 10001} | {6384}, worker.name
    token = (desk.home / ".ray" / "auth_token").read_text()
    for shown in ("", "somebody-else-s"):
        assert {port for port, said in knock(desk, head, shown).items() if said in REFUSED} == WITH_TOKEN
        for worker in workers:
            assert {port for port, said in knock(desk, worker, shown).items() if said == "200"} == {6384}, worker.name
    assert not {said for port, said in knock(desk, head, token).items() if port in WITH_TOKEN} & REFUSED
    # Whoever is on the head, as another account, gets as far as the dashboard's door.
    assert head.run(f"{ON_PATH}; python knocking.py 127.0.0.1").stdout.splitlines().count("8265 401") == 1


def knock(host: hosts.Host, other: hosts.Host, token: str, workers: Iterable[int] = ()) -> dict[int, str]:
    """What each service of `other` says to one on `host` who shows `token`, by port; those of its `workers` as well."""
    told = f"'{token}' {' '.join(map(str, workers))}"
    said = host.run(f"{ON_PATH}; python knocking.py {other.address} {told}").stdout.splitlines()
    return {int(port): words for port, _, words in (line.partition(" ") for line in said)}


def test_the_desk_sees_mlflow_through_a_tunnel(lab: hosts.Lab) -> None:
    page = 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:5055/health").read())'
    wait = f"for i in $(seq 50); do python3 -c '{page}' 2> /dev/null && break; sleep 0.3; done"
    done = lab["desk"].run(f"{LESION} ui --port 5055 {THERE} > /dev/null & {wait}; kill $!; wait")
    assert "OK" in done.stdout


def test_mlflow_answers_to_its_own_names_alone(lab: hosts.Lab) -> None:
    head = lab["head"]
    for name, status in {"127.0.0.1:5000": "200", "localhost:5055": "200", "lab.example.org": "403"}.items():
        assert head.run(f"{ON_PATH}; python asking.py {name}").stdout.strip() == status, name


def test_a_search_runs_on_every_host_and_outlives_whoever_follows_it(lab: hosts.Lab) -> None:
    desk = lab["desk"]
    checkpoints(lab).mkdir(parents=True)
    for name in ("head", "one", "two"):
        hold(lab, name).touch()  # six trials begin, and none ends before the next test lets it
    watching = desk.popen(f"{RUN.replace('; lesion', '; exec lesion')} > watched.txt 2>&1")
    eventually(lambda: {line["host"] for line in ran_on(lab)} == {"head", "one", "two"}, "trials on all hosts", 300)
    assert {line["gpus"] for line in ran_on(lab)} == {"0.5"}
    desk.run("pkill -INT -f '[l]esion-search run'")
    assert watching.wait(120) == 0
    assert "left running" in (desk.home / "watched.txt").read_text()
    eventually(
        lambda: [trial["epoch"] for trial in trials(lab).values()] == [1] * 6,
        "an epoch of six trials",
        120,
        ASKING_COSTS,
    )
    for host in (lab["head"], lab["one"], lab["two"]):
        theirs = host.open_ports() - WITH_TOKEN - METRICS
        assert theirs, host.name
        assert theirs <= set(range(10002, 20000)), host.name
        said = knock(desk, host, "", theirs)
        assert {said[port] for port in theirs} == {"UNAUTHENTICATED"}, host.name


def hold(lab: hosts.Lab, name: str) -> Path:
    """The file that keeps epochs on a host from ending while it is there."""
    return checkpoints(lab) / f"hold-{name}"


def test_a_host_whose_cable_is_out_is_given_up_and_writes_nothing_more(lab: hosts.Lab) -> None:
    _, head, one, two = lab.hosts.values()
    seeds = {int(line["seed"]) for line in ran_on(lab) if line["host"] in ("one", "two")}
    assert len(seeds) == 4
    one.link(up=False)
    two.cut_power()
    head.run("pkill -KILL -f '[m]lflow server'")
    eventually(lambda: addresses_alive(lab) == [head.address], "Ray has given both workers up", 240, ASKING_COSTS)
    hold(lab, "head").unlink()
    hold(lab, "two").unlink()

    def moved() -> dict[int, int]:
        return {number: trial["attempt"] for number, trial in complete(trials(lab)).items() if trial["seed"] in seeds}

    eventually(
        lambda: list(moved().values()) == [2] * 4, "the trials of both have ended on the head", 240, ASKING_COSTS
    )
    assert [line["host"] for line in ran_on(lab) if int(line["seed"]) in seeds].count("head") == 4

    # The cut-off host knows nothing of all this, and its trials are about to save an epoch.
    cut_off = one.run("pgrep -f '^ray::Worker'").stdout.split()
    assert len(cut_off) == 2
    before = {number: files_of(lab, number) for number in moved()}
    assert all("attempt" in files for files in before.values())
    hold(lab, "one").unlink()
    held = checkpoints(lab) / "held.txt"
    eventually(lambda: held.read_text().count("one ") == 2, "both trials of the cut-off host go on", 60)
    time.sleep(3)
    # The driver removes checkpoints of trials that have ended; nobody writes or rewrites anything.
    assert all(files_of(lab, number).items() <= files.items() for number, files in before.items())

    one.link(up=True)
    two.boot()
    eventually(lambda: not set(one.run("pgrep -f ray", check=False).stdout.split()) & set(cut_off), "they end", 120)


def test_a_stopped_search_goes_on_to_exactly_its_trials(lab: hosts.Lab) -> None:
    desk = lab["desk"]
    began = time.monotonic()
    stopped = desk.run(f"{LESION} stop tiny {THERE}", timeout=180)
    assert time.monotonic() - began < 60
    assert "tiny has stopped; nothing is lost" in stopped.stdout
    before = complete(trials(lab))
    assert 4 <= len(before) < TRIALS
    done = desk.run(RUN, timeout=480)
    assert f"all {TRIALS} trials have ended" in done.stdout
    assert desk.run(f"{LESION} logs tiny {THERE}").stdout in done.stdout
    found = trials(lab)
    assert sorted(found) == list(range(TRIALS))
    assert complete(found) == found
    assert {trial["epoch"] for trial in found.values()} == {6}
    assert {number: found[number] for number in before} == before


def test_mlflow_was_started_again_and_holds_each_trial_once(lab: hosts.Lab) -> None:
    done = lab["head"].run(". ~/.lesion-cluster; lesion-search sync tiny; python listing.py")
    assert f"Counter({{'FINISHED': {TRIALS + 1}}}) True" in done.stdout
    assert "it starts again" in (lab["head"].home / "lesion-tracking.log").read_text()


def test_hosts_that_come_back_join_again_by_themselves(lab: hosts.Lab) -> None:
    eventually(lambda: len(addresses_alive(lab)) == 3, "both workers are back", 360, ASKING_COSTS)


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
    assert not [*(lab.shared / "workspace" / "checkpoints" / "unseen").glob("[0-9]*")]  # a folder a trial


def test_ray_down_leaves_nothing_behind_but_what_the_guide_says(lab: hosts.Lab) -> None:
    desk = lab["desk"]
    desk.run(f"{ON_PATH}; cd lesion-search; ray down -y ~/cluster.yaml", timeout=120)
    for host in lab.hosts.values():
        eventually(lambda host=host: host.processes() == [], f"nothing runs on {host.name}", 90)  # type: ignore[misc]
        assert host.ports() == [], host.name
        assert host.run("ls -A /dev/shm").stdout == "", host.name
    before = json.loads((lab.folder / "before.json").read_text())
    for name, stays in {"desk": {"watched.txt"}, "head": STAYS_ON_HEAD, "one": STAYS, "two": STAYS}.items():
        new = lab[name].files() - set(before[name])
        left = {path for path in new if not path.startswith(NOT_OURS)}
        # Caches of fonts come with the first figure, for which a driver may have had no time.
        assert left - {"/root/.cache", "/root/.config"} == {f"/root/{each}" for each in stays}, name
    token = (desk.home / ".ray" / "auth_token").read_text().strip()
    for host in lab.hosts.values():
        assert host.holding(token) == {"/root/.ray/auth_token"}, host.name
        assert host.run("stat -c %a .ray/auth_token").stdout == "600\n", host.name
    assert lab["head"].run("stat -c %a ray_bootstrap_key.pem ray_bootstrap_config.yaml").stdout == "600\n600\n"
