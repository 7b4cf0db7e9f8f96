"""``lesion-search report | compare``: what a search found, how sure that is, and which of two is better."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lesion.writing import write_atomically
from search.commands.options import begins_anew, command, json_option, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands


def add(commands: Commands) -> None:
    """The commands that read a search."""
    _add_report(commands)
    _add_compare(commands)


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
    begins_anew(parser)
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: reports/STUDY/report)")
    parser.add_argument(
        "--effects", action="store_true", help="write nothing; print what each component is worth, in Markdown"
    )
    workspace_option(parser)
    json_option(parser)


def _add_compare(commands: Commands) -> None:
    parser = command(
        commands, "compare", compare,
        "Set judgements of the same images side by side, with paired tests. Each is a study (its best trial), a trial "
        "as STUDY:12, one of its finalists as STUDY:12/1 (fresh seed 1) or STUDY:12/fold-0, a promoted model's test "
        "part as STUDY:test (of several promotions the champion's, else the newest; STUDY:test-KEY is another, by the "
        "beginning of its key), or a per_image.csv; the first is compared with each of the others.",
        "isic2017 isic2017-second",
        "isic2017:24 isic2017:16 isic2017:0 --html comparison.html",
        "isic2017:24/1 isic2017:24/2",
        "isic2017:test theirs/per_image.csv --json",
    )  # fmt: skip
    named = "study, STUDY:TRIAL, STUDY:TRIAL/RUN, STUDY:test, STUDY:test-KEY, or a CSV file"
    begins_anew(parser)
    parser.add_argument("names", nargs="+", metavar="NAME", help=named)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that needs no network")
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


def compare(args: argparse.Namespace) -> int:
    """``compare``."""
    from search.display import console, print_json, say, table  # noqa: PLC0415

    with console(stderr=True).status("reading what is compared") as spinner:
        from search.reporting.comparison import compare as compared  # noqa: PLC0415
        from search.reporting.comparison_page import (  # noqa: PLC0415
            SHORT,
            as_json,
            page,
            short_cells,
            tests_in_words,
        )  # fmt: skip

        found = compared(args.names, args.workspace, progress=spinner.update)
    if args.html:
        args.html.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.html, page(found).encode())
    if args.json:
        print_json(as_json(found))
        return 0
    first = found.judgements[0]
    say(f"{len(first.images)} images, {first.part}", style="bold")
    for pair in found.pairs:
        title = f"{pair.first.name} (first) against {pair.second.name} (second)"
        numbers = "first second difference p_(Holm)"
        console().print(table(SHORT, map(short_cells, pair.tests), title, right=numbers))
        say(tests_in_words(pair), style="dim")
    say(*(f"note: {note}" for note in found.notes), style="yellow")
    say(*([f"a page of it: {args.html}"] if args.html else []), style="dim")
    return 0
