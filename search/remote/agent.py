"""What looks around on a machine: sent over ssh as text, asked line by line, answers in JSON.

It runs with whatever Python is there, also the wrong one: standard library only, nothing newer than Python 3.7. Each
function below is one question; its arguments are the question's other fields.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

LISTENING: list[socket.socket] = []
PATIENCE, CONNECT, SEEN = 30.0, 4.0, 3.0
"""Seconds for all of one question, which whoever asks waits a minute for; for one connection; for files to be seen."""
AT_ONCE = 128
"""Connections tried at a time: a firewall that drops packets lets each of them wait."""


def look(packages: list[str]) -> dict[str, Any]:
    """What this machine is and has."""
    environment = os.path.expandvars(os.environ.get("ENVIRONMENT", ""))
    return {
        "host": socket.gethostname(),
        "address": own_address(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "environment": environment,
        "in_environment": Path(sys.prefix) == Path(environment),
        "packages": {name: version_of(name) for name in packages},
        "memory": memory(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": gpus(),
        "ray": ray(),
        "token": token(),
    }


def own_address() -> str:
    """The address from which packets to the world would leave; none is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def version_of(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        from importlib import metadata  # noqa: PLC0415 - not there in Python 3.7
    except ImportError:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def memory() -> dict[str, int]:
    """Bytes of memory, all and free."""
    sizes = {}
    with Path("/proc/meminfo").open() as lines:
        for line in lines:
            name, value = line.split(":")
            sizes[name] = int(value.split()[0]) * 1024
    return {"total": sizes["MemTotal"], "free": sizes["MemAvailable"]}


def gpus() -> list[dict[str, Any]] | str:
    """GPUs that Ray sees, as nvidia-smi lists them, each with what of it others hold; a text where it fails."""
    try:
        listed = smi("gpu=index,uuid,name,memory.total,memory.used")
        holders = smi("compute-apps=gpu_uuid,pid,used_memory")
    except FileNotFoundError:
        return []
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        said = getattr(error, "stdout", None) or str(error)
        return "nvidia-smi fails: " + " ".join(str(said).split())[:200]
    found = []
    for index, uuid, name, total, used in listed:
        if not is_visible(index, uuid):
            continue
        pids = [int(pid) for gpu, pid, _ in holders if gpu == uuid and pid.isdigit()]
        found.append(
            {
                "index": index,
                "name": name,
                "total": mib(total),
                "used": mib(used),
                "strangers": [called(pid) for pid in pids if not of_ray(pid)],
                "ours": any(of_ray(pid) for pid in pids),
            }
        )
    return found


def is_visible(index: str, uuid: str) -> bool:
    """Whether $CUDA_VISIBLE_DEVICES, by which Ray goes and nvidia-smi does not, leaves a GPU in."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        return True
    # A part of a GPU has a name that does not say of which.
    words = [word.strip() for word in told.split(",")]
    return any(word == index or word[:4] == "MIG-" or (word and uuid.startswith(word)) for word in words)


def smi(query: str) -> list[list[str]]:
    """Rows of a query to nvidia-smi."""
    words = ["nvidia-smi", "--query-" + query, "--format=csv,noheader,nounits"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=True)
    return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def mib(text: str) -> int | None:
    """MiB as nvidia-smi writes them; None for what it does not know."""
    return int(text) if text.isdigit() else None


def ray() -> list[str]:
    """Which of Ray's own processes run in our account: raylet on every machine of a cluster, gcs_server on its head."""
    mine = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and owner(path) == os.getuid()]
    return sorted({name_of(pid) for pid in mine} & {"gcs_server", "raylet"})


def owner(path: Path) -> int | None:
    """Number of the account that a file is of, None where it has gone."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def of_ray(pid: int) -> bool:
    """Whether a process is one of Ray's workers, or was started by one: a trial on two GPUs has a process on each."""
    while pid > 1:
        if command_of(pid).startswith("ray::"):
            return True
        pid = parent_of(pid)
    return False


def parent_of(pid: int) -> int:
    """Number of a process's parent, 0 where it cannot be seen."""
    return int(stat_of(pid)[2])


def name_of(pid: int) -> str:
    """Name of a process, empty where it has ended."""
    name, state, _ = stat_of(pid)
    return "" if state == "Z" else name


def stat_of(pid: int) -> tuple[str, str, str]:
    """Name, state and parent of a process as the kernel writes them; of one that has gone, what an ended one has."""
    try:
        # The name stands in brackets, and may hold any of them.
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return "", "Z", "0"
    state, parent = after.split()[:2]
    return before.partition("(")[2], state, parent


def called(pid: int) -> str:
    """A process in words."""
    return f"{Path(command_of(pid).split(' ')[0]).name or 'a process of somebody else'} (pid {pid})"


def command_of(pid: int) -> str:
    """Command line of a process, empty where it cannot be seen."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def token() -> dict[str, Any] | None:
    """A fingerprint of Ray's token, which itself goes nowhere, and who may read it; None without one."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        text = path.read_text()
        return {"print": hashlib.sha256(text.strip().encode()).hexdigest()[:12], "mode": path.stat().st_mode & 0o777}
    except OSError:
        return None


def clock() -> float:
    """Seconds since 1970."""
    return time.time()


def listen(ports: list[int]) -> bool:
    """Listen on those of `ports` that nobody listens on; they are let go when this process ends."""
    for port in ports:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))
            listener.listen(16)
            LISTENING.append(listener)
        except OSError:
            listener.close()
    return True


def reach(places: list[tuple[str, int]]) -> list[list[Any]]:
    """Of [address, port] pairs those that cannot be connected to, with the reason."""
    deadline = time.monotonic() + PATIENCE

    def missed(place: tuple[str, int]) -> str | None:
        left = deadline - time.monotonic()
        if left <= 0:
            return "not tried, for others took too long"
        try:
            socket.create_connection((place[0], place[1]), timeout=min(CONNECT, left)).close()
            return None
        except OSError as error:
            return error.strerror or str(error)

    with ThreadPoolExecutor(max_workers=max(1, min(AT_ONCE, len(places)))) as pool:
        reasons = list(pool.map(missed, places))
    return [[address, port, why] for (address, port), why in zip(places, reasons) if why is not None]  # noqa: B905


def write(name: str) -> str | None:
    """Write a file into the workspace, made if it is missing; an error in words, or None."""
    folder = workspace()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            file.write(name.encode() * 64)
            file.flush()
            os.fsync(file.fileno())
        return None
    except OSError as error:
        return error.strerror or str(error)


def read(names: list[str]) -> list[str]:
    """Those of `names` in the workspace that are not there, or not whole, after `SEEN` seconds at the latest."""
    # A shared folder may show a file a moment after it was written.
    deadline = time.monotonic() + SEEN
    missing = [name for name in names if not whole(workspace() / name, name)]
    while missing and time.monotonic() < deadline:
        time.sleep(0.3)
        missing = [name for name in missing if not whole(workspace() / name, name)]
    return missing


def whole(path: Path, name: str) -> bool:
    """Whether `write` wrote the file at `path`."""
    with suppress(OSError):
        return path.read_bytes() == name.encode() * 64
    return False


def remove(name: str) -> bool:
    """Remove what `write` wrote."""
    with suppress(OSError):
        (workspace() / name).unlink()
    return True


def workspace() -> Path:
    """The workspace's folder."""
    return Path(os.path.expandvars(os.environ.get("LESION_WORKSPACE", "")))


def track(url: str) -> str | None:
    """Why MLflow does not answer at `url`, or None."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "/health", timeout=10).close()
        return None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


ASKED = (look, clock, listen, reach, write, read, remove, track)
QUESTIONS: dict[str, Callable[..., Any]] = {each.__name__: each for each in ASKED}


def main() -> None:
    """Answer until nobody asks."""
    for line in iter(sys.stdin.readline, ""):
        question = json.loads(line)
        answer = QUESTIONS[question.pop("ask")](**question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
