"""``lesion-search ui``: MLflow's own server and pages on the workspace.

It listens on this machine alone unless told otherwise. MLflow refuses host names that it does not know (403), so a
server for others is told every name of this machine.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from search.commands.cluster import file_option
from search.commands.options import command, whole, workspace_option
from search.commands.remote_search import ui_there
from search.servers import answers, require_free, serving, tail

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.workspace import Workspace

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add(commands: Commands) -> None:
    """The command ``ui``."""
    parser = command(
        commands, "ui", ui,
        "Show the studies in MLflow's pages, until Ctrl-C. They are served to this machine alone unless --host says "
        "otherwise; whoever reaches the port can change everything in it.",
        "",
        "--port 8080",
        "--host 0.0.0.0 --allow lab.example.org",
        "--cluster cluster.yaml",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=whole, default=5000, help="port to listen on (default 5000)")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="another host name to answer to; may be repeated"
    )
    file_option(parser, "show the pages of this cluster's server, through an ssh tunnel")
    workspace_option(parser)


def ui(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C (0), or until the server ends by itself (1)."""
    if args.cluster is not None:
        return ui_there(args)
    from search.display import console, say  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.workspace import existing_workspace  # noqa: PLC0415

    place = existing_workspace(args.workspace)
    if place.tracking_uri.startswith("http"):
        say(f"MLflow is a server of its own (MLFLOW_TRACKING_URI): open {place.tracking_uri}")
        return 0
    require_free(args.host, args.port)
    log = place.path / f"mlflow-server-{args.port}.log"
    # A queue of its own for jobs that nobody here sends would be four more processes.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with serving(server_command(place, args.host, args.port, args.allow), log, quiet) as server:
        url = f"http://{shown_host(args.host)}:{args.port}"
        with console(stderr=True).status("starting MLflow"):
            started = answers(server, f"{url}/health")
        if not started:
            if server.stopped:
                return 0
            say(f"MLflow did not start; the end of {log}:", *tail(log), stderr=True)
            return 1
        say(f"MLflow on {place.path}: {url}   (Ctrl-C ends it; log in {log})")
        server.wait()
        if server.stopped:
            return 0
    say(f"MLflow ended by itself; the end of {log}:", *tail(log), stderr=True)
    return 1


def server_command(place: Workspace, host: str, port: int, allow: Sequence[str] = ()) -> list[str]:
    """The command line of MLflow's server."""
    words = [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--backend-store-uri", place.tracking_uri, "--artifacts-destination", place.artifacts.as_uri(),
    ]  # fmt: skip
    if host in LOOPBACK and not allow:
        return words
    names = [*host_names(host), *allow]
    hosts = ",".join(f"{name},{name}:*" for name in names)
    # Its pages post their queries; from a name that is not listed, MLflow takes that for another site's doing.
    origins = ",".join(f"http://{name}:{port},https://{name}" for name in names)
    return [*words, "--allowed-hosts", hosts, "--cors-allowed-origins", origins]


def host_names(host: str) -> list[str]:
    """Names and addresses under which this machine may be asked for."""
    names = {*LOOPBACK[:2], socket.gethostname(), socket.getfqdn()}
    with suppress(socket.gaierror):  # a machine whose own name does not resolve is reached by the others
        names |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    if host not in ("0.0.0.0", "::"):
        names.add(host)
    return sorted(names)


def shown_host(host: str) -> str:
    """How a host is written into a URL that this machine can open."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
