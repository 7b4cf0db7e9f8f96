"""Tunnels to the head; ssh is played by a program that forwards nothing, or says why it cannot."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from search.cli import main
from search.errors import ClusterAccessError, ClusterError
from search.remote import ssh
from search.remote.cluster_file import read_cluster

FILE = Path(__file__).parents[2] / "cluster.yaml"
CLUSTER = read_cluster(FILE)


@pytest.fixture
def plays_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a shell script be `ssh`."""

    def play(script: str) -> None:
        (tmp_path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return play


def test_a_tunnel_stands_when_ssh_has_begun_the_command(plays_ssh: Callable[[str], None]) -> None:
    plays_ssh("echo Welcome; exec cat")
    with ssh.tunnel(CLUSTER, 5000) as port:
        assert port > 0


def test_a_listener_of_somebody_else_is_not_taken_for_the_tunnel(
    plays_ssh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plays_ssh("sleep 0.3; echo 'bind: Address already in use' >&2; exit 255")
    with socket.create_server(("127.0.0.1", 0)) as other:
        # It has come between the choice of the port and ssh's attempt at it.
        monkeypatch.setattr(ssh, "_free_port", lambda: other.getsockname()[1])
        with pytest.raises(ClusterAccessError, match="Address already in use"), ssh.tunnel(CLUSTER, 5000):
            pass


def test_a_port_that_is_taken_is_told_before_ssh_is_asked(plays_ssh: Callable[[str], None]) -> None:
    plays_ssh("exec cat")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(ClusterError, match=rf"127.0.0.1:{port} cannot be listened on .*another --port"),
            ssh.tunnel(CLUSTER, 5000, port),
        ):
            pass
        assert main(["ui", "--cluster", str(FILE), "--port", str(port)]) == 2


def test_a_head_that_says_nothing_is_given_up(
    plays_ssh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plays_ssh("exec sleep 20")
    monkeypatch.setattr(ssh, "PATIENCE", 0.2)
    with pytest.raises(ClusterAccessError, match=r"no tunnel to 192.0.2.10 within 0.2 s"), ssh.tunnel(CLUSTER, 5000):
        pass
