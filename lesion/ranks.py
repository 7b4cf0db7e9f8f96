"""The processes of a training over several devices: how one is started, told what to do, heard and ended.

They talk over two lines: orders and answers through a pipe (`Rank` here, `serve` there), gradients and statistics
through a process group on the loopback interface. They are children of rank 0 on one machine, so what they read from
the pipe was written by their own parent.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import torch
import torch.distributed as dist

from lesion.errors import RankError
from lesion.group import Group
from lesion.training import Training

Build = Callable[[Group], Training]
"""Makes the training of one rank, on its device; picklable."""

LEAVE = 5.0
"""Seconds that ranks have to end by themselves."""
LOOK = 0.2
"""Seconds between two looks at a process."""

_BEGIN = """
import json, sys
from multiprocessing.connection import Connection
link = Connection(int(sys.argv[1]))
sys.path[:] = json.loads(link.recv_bytes())
from lesion.ranks import serve
serve(link, int(sys.argv[2]))
"""


@dataclass(frozen=True)
class Part:
    """What a rank is started with; `folder` is where the ranks of one training find each other."""

    build: Build
    group: Group
    folder: Path
    threads: int
    silence: float


class Rank:
    """One of the other ranks, as rank 0 sees it: a process and a line to it."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._link, theirs = Pipe()
        # A session of its own: Ctrl-C is for rank 0, which ends the others in its own time.
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._say(json.dumps(sys.path).encode())

    def tell(self, what: object) -> None:
        """Give it a `Part`, or an order with what goes with it; each is answered."""
        self._say(pickle.dumps(what))

    def _say(self, words: bytes) -> None:
        with suppress(OSError):  # one that is gone shows when its answer is waited for
            self._link.send_bytes(words)

    def answer(self) -> BaseException | bool:
        """What it has answered: True, why it failed, or False for nothing yet. Waits a moment."""
        try:
            if self._link.poll(LOOK):
                failed: BaseException | None = pickle.loads(self._link.recv_bytes())
                return failed or True
        except (EOFError, OSError):
            return self._lost()
        # Its loading processes may hold its end of the line open for a while.
        return False if self.process.poll() is None or self._link.poll() else self._lost()

    def _lost(self) -> RankError:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LEAVE)
        code = self.process.returncode
        if code is None:
            return RankError(f"the process of rank {self.rank} answers no more")
        return RankError(
            f"the process of rank {self.rank} ended {f'by {_signal(code)}' if code < 0 else f'with {code}'}"
        )

    def leave(self, at_once: bool) -> None:
        """Have it end."""
        self._link.close()
        if at_once:
            self.process.kill()

    def end(self, deadline: float) -> None:
        """Have ended it by `deadline`."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(link: Connection, parent: int) -> None:
    """Be a rank other than 0: do what `link` says until it ends, or until the process `parent` does."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        part: Part = pickle.loads(link.recv_bytes())
        torch.set_num_threads(part.threads)
        training = part.build(part.group)
        while True:
            link.send_bytes(pickle.dumps(None))
            order, given = pickle.loads(link.recv_bytes())
            if order == "join":
                join(part.group, training.device, part.folder, part.silence)
            elif order == "load":
                state = torch.load(io.BytesIO(given), map_location="cpu", weights_only=True)
                training.load_state_dict(state)
            else:
                training.accompany(given)
    except EOFError:
        if dist.is_initialized():
            leave(broken=False)
    except BaseException as problem:
        with suppress(OSError):
            link.send_bytes(_pickled(problem))
    # Not through the interpreter's end, which would wait for a group that is broken.
    sys.stderr.flush()
    os._exit(0)


def _end_with(parent: int) -> None:
    # By looking, not by PR_SET_PDEATHSIG: that fires when the thread ends that started this process.
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGKILL)


def join(group: Group, device: torch.device, folder: Path, silence: float) -> None:
    """Become one of the process group that meets in `folder`: NCCL between GPUs, gloo between CPUs."""
    on_gpu = device.type == "cuda"
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    for library in ("GLOO", "NCCL"):  # nothing of this is for other machines
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    if on_gpu:
        torch.cuda.set_device(device)
    # A file: TCPStore would listen on every address of the machine.
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=(folder / "store").as_uri(),
        rank=group.rank,
        world_size=group.size,
        timeout=timedelta(seconds=silence),
        device_id=device if on_gpu else None,
    )


def abort() -> None:
    """Let go of a collective that another rank will never come to; gloo notices by itself."""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()


def leave(broken: bool) -> None:
    """Leave the process group; one that is `broken` cannot be left together."""
    with suppress(Exception):
        if broken:
            abort()
        if dist.is_initialized():
            dist.destroy_process_group()


def _pickled(problem: BaseException) -> bytes:
    """An error as another process can read it."""
    try:
        written = pickle.dumps(problem)
        pickle.loads(written)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(problem).__name__}: {problem}"))
    return written


def _signal(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
