"""Commands on a cluster's machines, and tunnels to what listens on the head's loopback."""

from __future__ import annotations

import os
import select
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from search.errors import ClusterAccessError
from search.remote.cluster_file import Cluster
from search.servers import require_free

TOLD = "~/.lesion-cluster"
"""What all machines are told, in a file on each, once `ray up` has written it."""
OWN = "~/.lesion-machine"
"""What one machine alone is told, in a file there."""
CONNECT = 10
"""Seconds that a machine has to answer ssh."""
PATIENCE = 30.0
"""Seconds that a tunnel has to stand."""


def ssh_words(cluster: Cluster, address: str, *options: str) -> list[str]:
    """The ssh command up to the machine's name; the remote command follows.

    Host keys are treated as Ray treats them: machines of a cluster are set up anew, and get new ones.
    """
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-o", "LogLevel=ERROR"]
    words += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}"]
    words += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    if cluster.key:
        words += ["-o", "IdentitiesOnly=yes", "-i", cluster.key]
    if cluster.proxy:
        words += ["-o", f"ProxyCommand={cluster.proxy}"]
    return [*words, *options, f"{cluster.user}@{address}"]


def told(cluster: Cluster) -> str:
    """What the machines are told, as the first line for a command that is `hearing` it."""
    # Not in a command line, which every account of both machines may read: a database's address may hold a password.
    return "; ".join(f'export {name}="{value}"' for name, value in cluster.settings.items()) + "\n"


def hearing(command: str) -> str:
    """A shell line that takes the first line of its input for what the machine is told, and runs `command` with it.

    It needs no `ray up` before. The rest of the input is the command's.
    """
    return f'IFS= read -r told && eval "$told"; ! test -f {OWN} || . {OWN}; {command}'


def on_head(cluster: Cluster, words: list[str], terminal: bool = False) -> int:
    """Run `words` on the head as `ray up` has set it up, its output going where ours goes; returns its exit code.

    Raises ClusterAccessError where the head cannot be reached.
    """
    lacking = shlex.quote(f"{cluster.head}: there is no {TOLD}: 'ray up -y {cluster.path}' writes it")
    line = f"test -f {TOLD} || {{ echo {lacking} >&2; exit 2; }}; . {TOLD}; {shlex.join(words)}"
    code = subprocess.run([*ssh_words(cluster, cluster.head, *(["-t"] if terminal else [])), line], check=False)
    if code.returncode == 255:
        raise ClusterAccessError(f"{cluster.path}: the head {cluster.head} does not answer ssh; see {_check(cluster)}")
    return code.returncode


@contextmanager
def tunnel(cluster: Cluster, port: int, local: int = 0) -> Iterator[int]:
    """A local port that leads to `port` on the head's loopback, for as long as the context lasts.

    Raises ClusterError where `local` is taken, and ClusterAccessError where the head does not answer ssh; whether
    something listens there shows at first use.
    """
    if local:
        require_free("127.0.0.1", local)
    local = local or _free_port()
    forward = ["-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}"]
    # `cat` ends with its input, so the tunnel ends with us, also where we are killed. ssh begins it once the port is
    # forwarded, or ends: whatever it says back, the port is ssh's and nobody else's.
    words = [*ssh_words(cluster, cluster.head, *forward), "cat"]
    # A session of its own: Ctrl-C is for us, who still have something to say through it.
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        _await(cluster, process)
        yield local
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
        process.kill()
        process.communicate()


def _await(cluster: Cluster, process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it has ended, and says why
        process.stdin.write("here\n")
        process.stdin.flush()
    answered, _, _ = select.select([process.stdout], [], [], PATIENCE)
    if not answered:
        raise ClusterAccessError(
            f"{cluster.path}: no tunnel to {cluster.head} within {PATIENCE:g} s; see {_check(cluster)}"
        )
    if not process.stdout.readline():
        said = (process.stderr.read() if process.stderr else "").strip()
        raise ClusterAccessError(f"{cluster.path}: no tunnel to {cluster.head}: {said}; see {_check(cluster)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check(cluster: Cluster) -> str:
    return f"'lesion-search cluster check --cluster {cluster.path}'"
