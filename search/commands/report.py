"""``lesion-search report``: what a search found, and how sure that is."""

from __future__ import annotations

import argparse
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
        "Tell what each component of a study is worth. The effect of every loss, balancing, head … on the objective, "
        "with all else averaged out and a 95 % interval, as tables in Markdown.",
        "isic2017 --effects",
        "isic2017 --effects --json",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    parser.add_argument("--effects", action="store_true", required=True, help="print the tables of effects")
    workspace_option(parser)
    json_option(parser)


def report(args: argparse.Namespace) -> int:
    """``report``."""
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
