"""``lesion-search finalists``: the best settings of a study run again, and ranked on what they score then."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from search.commands.options import (
    again,
    command,
    json_option,
    non_negative,
    positive,
    whole,
    workspace_option,
)
from search.commands.search import CODES

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.finalists import FinalistsResult
    from search.study import StudyStatus


def add(commands: Commands) -> None:
    """The command around finalists."""
    parser = command(
        commands, "finalists", finalists,
        "Run the best settings of a study again, on fresh seeds or on folds, and rank them on their means. A search's "
        "best score is as much lucky as good; how much it drops is shown. The same command continues, more seeds run "
        "what is missing, and 'promote' then makes its model of the finalists.",
        "isic2017",
        "isic2017 --top 3 --seeds 5 --hours 8",
        "isic2017 --folds 5",
        "isic2017 --trials 3,7 --epochs 30",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--top", type=whole, default=5, metavar="N", help="settings, the best ones (default 5)")
    which.add_argument("--trials", type=numbers, default=[], metavar="N,N", help="the settings of these trials instead")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--seeds", type=whole, metavar="N", help="fresh runs of each on the study's split (default 3)")
    how.add_argument("--folds", type=whole, metavar="N", help="a run of each on the first N folds of the data instead")
    parser.add_argument("--epochs", type=whole, metavar="N", help="epochs of a run (default: as in the search)")
    parser.add_argument("--hours", type=positive, metavar="H", help="wall clock of this session")
    parser.add_argument("--concurrent", type=whole, metavar="N", help="runs at a time (default: as many as fit)")
    parser.add_argument(
        "--gpus-per-trial", type=non_negative, metavar="SHARE",
        help="GPUs of a run: several train it at once, a fraction shares one, 0 stays on CPUs (default 1, if any)",
    )  # fmt: skip
    parser.add_argument("--address", help="Ray cluster to run on (default: this machine)")
    workspace_option(parser)
    json_option(parser)


def numbers(text: str) -> list[int]:
    """Numbers of trials, separated by commas.

    >>> numbers("3,7")
    [3, 7]
    """
    return [int(word) for word in text.split(",")]


def finalists(args: argparse.Namespace) -> int:
    """``finalists``; exit codes as of ``run``."""
    from search.display import console, say, searched  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.live import followed  # noqa: PLC0415
    from search.study import study_status  # noqa: PLC0415

    status = study_status(args.workspace, args.study)
    with followed(searched(status.identity.semantics), console(stderr=args.json)) as progress:
        from search.finalists import run_finalists  # noqa: PLC0415

        result = run_finalists(
            args.study, args.workspace, top=args.top, seeds=args.seeds, folds=args.folds, trials=args.trials,
            epochs=args.epochs, hours=args.hours, concurrent=args.concurrent, gpus_per_trial=args.gpus_per_trial,
            address=args.address, progress=progress,
            warn=lambda text: say(f"warning: {text}", style="yellow", stderr=True),
        )  # fmt: skip
    _show_result(result, args)
    hopeless = bool(result.rows) and all(row.state == "failed" for row in result.rows)
    return 1 if hopeless else CODES.get(result.ended, 1)


def _show_result(result: FinalistsResult, args: argparse.Namespace) -> None:
    from search.display import print_json, say  # noqa: PLC0415
    from search.standings_table import finalists_json, show_finalists  # noqa: PLC0415

    if args.json:
        ended = {"ended": result.ended, "complete": result.complete, "notes": list(result.notes)}
        print_json({**finalists_json(result.series, result.standings), **ended})
        return
    show_finalists(result.series, result.standings)
    say(*(f"note: {text}" for text in result.notes), style="yellow")
    say(result.message, style="bold")
    if result.mirror_problem:
        say(f"MLflow did not take everything: {result.mirror_problem}", style="yellow")
    if result.complete and result.standings:
        say(f"next: {again(args, 'promote', result.study)}", style="dim")


def tables_of(args: argparse.Namespace, status: StudyStatus, *, as_json: bool) -> list[dict[str, object]]:
    """Print, or give as JSON, every series of finalists of a study; intervals only where its data are to be had."""
    from search.finalists import all_standings  # noqa: PLC0415
    from search.standings_table import finalists_json, show_finalists  # noqa: PLC0415

    listed = []
    for series, standings in all_standings(args.workspace, status):
        if as_json:
            listed.append(finalists_json(series, standings))
        else:
            show_finalists(series, standings)
    return listed
