"""``lesion-search cluster check | exec | tracking``: a cluster's machines, looked at and spoken to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.options import command, json_option, whole, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.remote.checks import NodeReport

DEFAULT = Path("cluster.yaml")


def add(commands: Commands) -> None:
    """The commands around a cluster."""
    parser = commands.add_parser(
        "cluster",
        help="look at a cluster's machines",
        description="Look at the machines of a Ray cluster, and use them.",
    )
    words = ("check", "exec promote isic2017", "tracking")
    parser.epilog = "examples:\n" + "\n".join(f"  {parser.prog} {example}" for example in words)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", dest="cluster_command", required=True)
    _add_check(inner)
    _add_exec(inner)
    _add_tracking(inner)


def file_option(parser: argparse.ArgumentParser, sentence: str = "") -> None:
    """``--cluster``: required to be there where no `sentence` says what happens without."""
    default = None if sentence else DEFAULT
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE", default=default,
        help=sentence or f"cluster file of 'ray up' (default {DEFAULT})",
    )  # fmt: skip


def _add_check(commands: Commands) -> None:
    parser = command(
        commands, "check", check,
        "Look at every machine of a cluster: ssh, Python and packages, Ray, ports, GPUs and memory, storage seen from "
        "every machine, MLflow, clock, token. Says the fix for each thing that is wrong, and ends with 1 if there is "
        "any.",
        "",
        "--cluster lab.yaml",
        "--json",
    )  # fmt: skip
    file_option(parser)
    json_option(parser)


def _add_exec(commands: Commands) -> None:
    parser = command(
        commands, "exec", execute,
        "Run a command of lesion-search on the head. Paths are the head's, the workspace is the cluster's.",
        "data prepare /mnt/lesions/raw/isic2017",
        "--cluster lab.yaml promote isic2017",
    )  # fmt: skip
    file_option(parser)
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")


def _add_tracking(commands: Commands) -> None:
    parser = command(
        commands, "tracking", tracking,
        "Serve MLflow on this machine's loopback for as long as Ray's head runs here, starting it again whenever it "
        "ends. The cluster file runs this on the head; its database is $TRACKING_STORE, else SQLite in the workspace.",
        "",
        "--port 5001 --workspace /mnt/lesions",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=whole, help="port to listen on (default: that of $MLFLOW_TRACKING_URI, else 5000)"
    )
    workspace_option(parser)


def check(args: argparse.Namespace) -> int:
    """``cluster check``; 1 where anything is red."""
    from search.display import bar, print_json  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.remote.checks import check_cluster  # noqa: PLC0415
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415

    cluster = read_cluster(args.cluster)
    with bar() as progress:
        reports = check_cluster(cluster, progress)
    if args.json:
        print_json([_as_json(report) for report in reports])
    else:
        _show(reports)
    return 0 if all(report.good for report in reports) else 1


def execute(args: argparse.Namespace) -> int:
    """``cluster exec``; the exit code of the command there."""
    import sys  # noqa: PLC0415

    from search.errors import ClusterError  # noqa: PLC0415
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415
    from search.remote.ssh import on_head  # noqa: PLC0415

    if not args.words:
        raise ClusterError("cluster exec: no command; 'lesion-search cluster exec status' runs 'status' on the head")
    return on_head(read_cluster(args.cluster), ["lesion-search", *args.words], terminal=sys.stdout.isatty())


def tracking(args: argparse.Namespace) -> int:
    """``cluster tracking``; returns when Ray's head or this command is ended."""
    from search.display import say  # noqa: PLC0415
    from search.remote.cluster_file import port_of  # noqa: PLC0415
    from search.remote.tracking_server import (  # noqa: PLC0415
        head_is_alive,
        server_variables,
        server_words,
        supervise,
    )
    from search.workspace import open_workspace  # noqa: PLC0415

    port = args.port or port_of(os.environ.get("MLFLOW_TRACKING_URI") or "http://127.0.0.1:5000")
    place = open_workspace(args.workspace)
    supervise(server_words(place, port), server_variables(place), head_is_alive(), say)
    return 0


def _as_json(report: NodeReport) -> dict[str, object]:
    cells = {name: {"ok": not cell.bad, "text": cell.text, "fix": cell.fix} for name, cell in report.cells.items()}
    return {"node": report.address, "role": report.role, "ok": report.good, **cells}


def _show(reports: list[NodeReport]) -> None:
    from rich.text import Text  # noqa: PLC0415

    from search.display import console, say, table  # noqa: PLC0415
    from search.remote.checks import COLUMNS  # noqa: PLC0415

    rows: list[list[str | Text]] = []
    for report in reports:
        cells = [Text(cell.text, "red" if cell.bad else "") for cell in report.cells.values()]
        rows.append([f"{report.address} {report.role}", *cells])
    columns = ("node", *COLUMNS)
    console().print(table(columns, rows, wrapped=columns))  # eleven columns want room
    for report in reports:
        for name, cell in report.cells.items():
            if cell.bad:
                say(f"{report.address}: {name}: {cell.fix}", style="red")
    if all(report.good for report in reports):
        say(f"all {len(reports)} machines are ready", style="green")
