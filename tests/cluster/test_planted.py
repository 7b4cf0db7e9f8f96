"""``cluster check`` names what is wrong with a host, on that host, and says the fix; nothing else turns red."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts
import pytest
from conftest import ON_PATH, furnished

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

NVIDIA_SMI = """#!/bin/sh
# As the real one prints for two GPUs of which somebody's process holds the second.
case "$1" in
--query-gpu=*) echo "0, GPU-a, NVIDIA A100-SXM4-80GB, 81920, 4"; echo "1, GPU-b, NVIDIA A100-SXM4-80GB, 81920, 30512";;
--query-compute-apps=*) echo "GPU-b, $(pgrep -x sleep), 30500";;
esac
"""
GUIDE = Path(__file__).parents[2] / "docs" / "clusters" / "check.md"
CHECK = f"{ON_PATH}; lesion-search cluster check --cluster cluster.yaml"


@pytest.fixture(scope="module")
def lab(room: Path) -> Iterator[hosts.Lab]:
    with hosts.lab(room / "planted", ["desk", "head", "one", "two", "three"]) as made:
        furnished(made)
        for name in ("head", "one", "two", "three"):
            host = made[name]
            (host.home / ".ray").mkdir()
            token = (made["desk"].home / ".ray" / "auth_token").read_text()
            (host.home / ".ray" / "auth_token").write_text(token)
            (host.home / ".ray" / "auth_token").chmod(0o600)
            (host.home / "lesion-search").symlink_to("/root/env")  # nobody has synced code yet
        yield made


def checked(lab: hosts.Lab) -> dict[str, Any]:
    """Reports by the host's name."""
    done = lab["desk"].run(f"{CHECK} --json", check=False)
    assert done.returncode == 1, done.stderr
    names = {host.address: host.name for host in lab.hosts.values()}
    return {names[report["node"]]: report for report in json.loads(done.stdout)}


def red(report: dict[str, Any]) -> dict[str, str]:
    return {name: cell["fix"] for name, cell in report.items() if isinstance(cell, dict) and not cell["ok"]}


def shown_in_guide(with_text: str) -> str:
    """The block of the guide that shows a table with `with_text` under it."""
    blocks = re.findall(r"```\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if with_text in block and block.count("10.77.0.") > 3)
    return str(found)


def words_of(printed: str) -> list[str]:
    """The words of a table and what stands under it, without what differs from machine to machine."""
    text = printed.replace(platform.python_version(), "3.x.y")
    text = re.sub(r"pid \d+|\d+ of \d+|\d+ found|3\.1\d\.\d+", "…", text.replace("3.x.y", "…"))
    return [word for word in text.split() if set(word) != {"─"}]


def packages_of(host: hosts.Host) -> Path:
    (folder,) = host.home.glob("env/lib/python*/site-packages")
    return folder


def plant(host: hosts.Host, name: str, code: str) -> None:
    """Have each Python on `host` run `code` at its start."""
    (packages_of(host) / f"planted_{name}.py").write_text(code)
    (packages_of(host) / f"2_{name}.pth").write_text(f"import planted_{name}\n")


def test_what_is_planted_is_named_on_its_host_and_nowhere_else(lab: hosts.Lab) -> None:
    # one: another Python, a clock that is five minutes ahead, no token
    plant(lab["one"], "python", "import platform\nplatform.python_version = lambda: '3.9.2'\n")
    plant(lab["one"], "clock", "import time\nreal = time.time\ntime.time = lambda: real() + 300\n")
    (lab["one"].home / ".ray" / "auth_token").unlink()
    # two: a package that is missing, a GPU that somebody holds
    plant(lab["two"], "package", MISSING)
    smi = lab["two"].home / "env" / "bin" / "nvidia-smi"
    smi.write_text(NVIDIA_SMI)
    smi.chmod(0o755)
    lab["two"].run("setsid sleep 600 > /dev/null 2>&1 &")
    # three: no share mounted; a firewall between it and the head's port 6379
    lab["three"].cut_power()
    lab["three"].boot(sees_storage=False)
    lab["three"].run(f"ip rule add to {lab['head'].address} ipproto tcp dport 6379 unreachable")

    found = checked(lab)
    printed = lab["desk"].run(f"export COLUMNS=160; {CHECK}", check=False)

    assert set(red(found["head"])) == {"ports", "tracking"}
    assert f"6379 of {lab['head'].address} cannot be reached from {lab['three'].address}" in red(found["head"])["ports"]
    assert "MLflow does not answer" in red(found["head"])["tracking"]
    assert set(red(found["one"])) == {"python", "clock", "token"}
    assert "Python 3.9.2" in red(found["one"])["python"]
    assert "300 s ahead" in red(found["one"])["clock"]
    assert "get-auth-token --generate" in red(found["one"])["token"]
    assert set(red(found["two"])) == {"packages", "gpus"}
    assert "not installed: optuna" in red(found["two"])["packages"]
    assert "GPU 1: held by sleep (pid" in red(found["two"])["gpus"]
    assert set(red(found["three"])) == {"storage"}
    assert "another folder than the head's" in red(found["three"])["storage"]
    # And what a person sees of it is what the guide shows.
    print(printed.stdout)  # to be copied into the guide where it has changed
    assert printed.returncode == 1
    assert words_of(printed.stdout) == words_of(shown_in_guide(with_text="get-auth-token --generate"))
    for host in lab.hosts.values():
        for column, fix in red(found.get(host.name, {})).items():
            assert f"{host.address}: {column}: {' '.join(fix.split())}" in " ".join(printed.stdout.split())


def test_a_gpu_that_is_left_out_as_the_fix_says_is_red_no_more(lab: hosts.Lab) -> None:
    (line,) = re.findall(r"leave the GPU out: '(.*?)' in ~/.lesion-machine there", red(checked(lab)["two"])["gpus"])
    (lab["two"].home / ".lesion-machine").write_text(f"{line}\n")
    cell = checked(lab)["two"]["gpus"]
    assert (cell["ok"], cell["text"]) == (True, "1 × NVIDIA A100-SXM4-80GB 80 GB")


def test_a_host_that_does_not_answer_is_one_red_cell(lab: hosts.Lab) -> None:
    lab["one"].link(up=False)
    try:
        report = checked(lab)["one"]
    finally:
        lab["one"].link(up=True)
    assert set(red(report)) == {"ssh"}
    assert f"{lab['one'].address}: ssh: {red(report)['ssh']}" in GUIDE.read_text()
    assert f"ssh -i /root/.ssh/cluster.pem root@{lab['one'].address}" in red(report)["ssh"]


MISSING = """
from importlib import metadata
real = metadata.version
def version(name):
    if name == "optuna":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
"""
