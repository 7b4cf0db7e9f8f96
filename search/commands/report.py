"""``lesion-search report``: what a search found, and how sure that is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.options import command, json_option, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands


def add(commands: Commands) -> None:
    """The commands that read a search."""
    _add_report(commands)


def _add_report(commands: Commands) -> None:
    parser = command(
        commands, "report", report,
        "Write a report of a study. One HTML page that needs no network, the same as JSON and CSV files, in the "
        "workspace's reports and in MLflow: the best trials with intervals, what each component is worth, learning "
        "curves, cost, failures, single classes and images. A study may be reported on while it runs.",
        "isic2017",
        "isic2017 --out isic2017.html",
        "isic2017 --effects",
        "isic2017 --effects --json",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: reports/STUDY/report)")
    parser.add_argument(
        "--effects", action="store_true", help="write nothing; print what each component is worth, in Markdown"
    )
    workspace_option(parser)
    json_option(parser)


def report(args: argparse.Namespace) -> int:
    """``report``."""
    return _effects(args) if args.effects else _page(args)


def _effects(args: argparse.Namespace) -> int:
    from dataclasses import asdict  # noqa: PLC0415 - heavy imports wait until they are needed

    from search.display import console, print_json, say  # noqa: PLC0415

    with console(stderr=True).status("reading the study") as spinner:
        from search.reporting.effects import component_effects  # noqa: PLC0415
        from search.reporting.tables import effects_markdown  # noqa: PLC0415

        found = component_effects(args.study, args.workspace, progress=spinner.update)
    if args.json:
        print_json(asdict(found))
    else:
        say(effects_markdown(found))
    return 0


def _page(args: argparse.Namespace) -> int:
    from search.display import console, print_json, say  # noqa: PLC0415

    with console(stderr=True).status("reading the study") as spinner:
        from search.reporting import report as write_report  # noqa: PLC0415
        from search.reporting.files import as_json  # noqa: PLC0415

        terminal = console(stderr=True).is_terminal
        made = write_report(
            args.study, args.workspace, out=args.out,
            progress=spinner.update if terminal else lambda text: say(text, stderr=True),
        )  # fmt: skip
    if args.json:
        print_json({**as_json(made.reading), "page": str(made.page), "unlogged": made.unlogged})
    else:
        say(*(f"note: {note}" for note in made.reading.notes), style="yellow")
        say(f"{made.page}, and {len(made.files)} files in {made.files[0].parent}", style="bold")
    say(*([made.unlogged] if made.unlogged else []), style="yellow", stderr=True)
    return 0
