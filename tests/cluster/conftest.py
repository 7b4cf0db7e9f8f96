"""A lab of hosts, and the project's own cluster file filled in for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hosts
import pytest
from environment import ENVIRONMENT, make_environment

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "search"))
FAKE_TRAINING = HERE.parent / "search" / "fake_training.py"
LOGICAL = "--num-cpus=2 --num-gpus=2 --object-store-memory=78643200"
ON_PATH = f"export PATH={ENVIRONMENT}/bin:$PATH"
NEW_TOKEN = "ray get-auth-token --generate && chmod 600 ~/.ray/auth_token"
# Kept out of what a desk would sync: none of it is code.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", ".*_cache", "workspace", "demo")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for hosts; removed at the end, because their homes hold copies of the checkout."""
    why = hosts.lacking()
    if why:
        pytest.skip(f"no hosts for a cluster: {why}")
    folder = tmp_path_factory.mktemp("lab")
    yield folder
    shutil.rmtree(folder)


def furnished(lab: hosts.Lab) -> None:
    """Give every host its environment, and the first one, the desk, the checkout, a token and ``cluster.yaml``."""
    desk, head, *workers = lab.hosts.values()
    for host in lab.hosts.values():
        make_environment(host.home)
    shutil.copytree(hosts.REPOSITORY, desk.home / "lesion-search", ignore=LEFT_OUT)
    (desk.home / "cluster.yaml").write_text(filled_in(head.address, [worker.address for worker in workers]))
    desk.run(f"{ON_PATH}; {NEW_TOKEN}")


def filled_in(head: str, workers: list[str]) -> str:
    """The project's cluster file with the values that a user edits."""
    text = (hosts.REPOSITORY / "cluster.yaml").read_text()
    edits = {
        "head_ip: 192.0.2.10": f"head_ip: {head}",
        "[192.0.2.11, 192.0.2.12]": f"[{', '.join(workers)}]",
        "ssh_user: lab": "ssh_user: root",
        "~/.ssh/id_ed25519": "~/.ssh/cluster.pem",
        "$HOME/lesion-environment": ENVIRONMENT,
        '"/mnt/lesions"': f'"{hosts.STORAGE}/workspace"',
        'RAY_HEAD_OPTIONS=""': f'RAY_HEAD_OPTIONS="{LOGICAL}"',
        'RAY_WORKER_OPTIONS=""': f'RAY_WORKER_OPTIONS="{LOGICAL}"',
    }
    for before, after in edits.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def fake_trials(host: hosts.Host) -> None:
    """Have trials on `host` train nothing."""
    (packages,) = host.home.glob("env/lib/python*/site-packages")
    for source in (HERE / "fake_trials.py", FAKE_TRAINING):
        shutil.copy(source, packages)
    (packages / "1_fake.pth").write_text("import fake_trials; fake_trials.install()\n")


def eventually(is_so: Callable[[], bool], what: str, seconds: float, every: float = 0.5) -> None:
    """Wait until `is_so`, which is asked `every` so many seconds; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(every)


def no_hosts_left() -> bool:
    """Whether every network namespace of this process's labs is gone."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return f"lab{os.getpid()}" not in listed
