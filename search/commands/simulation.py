"""``lesion-search simulate``: ways to search, compared on recorded learning curves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.options import begins_anew, command, json_option, positive, whole, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.simulation import Curve, Outcome
    from search.space import Space


def add(commands: Commands) -> None:
    """The command ``simulate``."""
    parser = command(
        commands, "simulate", simulate,
        "Compare samplers and schedulers on learning curves that real trials recorded, in seconds and without "
        "training. Each simulated trial gets the curve of the recorded one that is most like it.",
        "isic2017",
        "isic2017 --repeats 50 --trials 60 --workers 4",
        "spaces/isic2017.yaml --curves isic2017 --curves old.json",
        "isic2017 --export curves.json",
    )  # fmt: skip
    begins_anew(parser)
    parser.add_argument(
        "what", metavar="SPACE|STUDY", help="space file to search, or a study, whose space is searched again"
    )
    parser.add_argument(
        "--curves", action="append", default=[], metavar="STUDY|FILE",
        help="whose curves to replay, a study or a file of --export; may be repeated (default: the study itself)",
    )  # fmt: skip
    parser.add_argument("--trials", type=whole, metavar="N", help="trials of one search (default: the space's)")
    parser.add_argument("--workers", type=whole, default=4, metavar="N", help="trials at a time (default 4)")
    parser.add_argument("--repeats", type=whole, default=10, metavar="N", help="searches of each kind (default 10)")
    parser.add_argument(
        "--target", type=positive, metavar="VALUE",
        help="objective that counts as found (default: what one recorded trial in twenty reaches)",
    )  # fmt: skip
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the curves to a JSON file, and end")
    workspace_option(parser)
    json_option(parser)


def simulate(args: argparse.Namespace) -> int:
    """``simulate``."""
    from search.display import bar, print_json, say  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.simulation import Recorded, compare, write_curves  # noqa: PLC0415
    from search.simulation.comparison import target_of  # noqa: PLC0415

    space, curves = _space_and_curves(args)
    if args.export:
        write_curves(args.export, curves)
        say(f"{len(curves)} curves in {args.export}")
        return 0
    recorded = Recorded(curves, space.budget.epochs)
    target = target_of(recorded, space.direction) if args.target is None else args.target
    trials = args.trials or space.budget.trials
    with bar() as progress:
        outcomes = compare(
            space, recorded, target=target, trials=trials, workers=args.workers, repeats=args.repeats,
            progress=progress,
        )  # fmt: skip
    facts = {
        "objective": space.objective, "target": target, "curves": len(recorded.curves), "trials": trials,
        "workers": args.workers, "repeats": args.repeats,
    }  # fmt: skip
    if args.json:
        print_json({**facts, "methods": [_json(outcome) for outcome in outcomes]})
    else:
        _show(outcomes, space, facts)
    return 0


def _space_and_curves(args: argparse.Namespace) -> tuple[Space, list[Curve]]:
    from search.simulation import curves_of_study, read_curves, space_of_study  # noqa: PLC0415
    from search.space import load  # noqa: PLC0415
    from search.study import study_status  # noqa: PLC0415

    def curves_of(name: str) -> list[Curve]:
        if name.endswith(".json"):
            return read_curves(Path(name))
        return curves_of_study(study_status(args.workspace, name).rows)

    if Path(args.what).suffix in (".yaml", ".yml"):
        space = load(Path(args.what))
        sources = args.curves or [space.name]
    else:
        study = study_status(args.workspace, args.what)
        space = space_of_study(study.identity.semantics, study.identity.objective, max(1, len(study.rows)))
        sources = args.curves or [args.what]
    return space, [curve for name in sources for curve in curves_of(name)]


def _json(outcome: Outcome) -> dict[str, object]:
    return {**vars(outcome), "method": outcome.method.name}


def _show(outcomes: list[Outcome], space: Space, facts: dict[str, object]) -> None:
    from search.display import console, score, table  # noqa: PLC0415

    def number(value: float | None, spec: str) -> str:
        return "–" if value is None else format(value, spec)

    rows = [
        (
            outcome.method.name, f"{outcome.reached:.0%}", number(outcome.epochs, ".0f"), number(outcome.hours, ".2f"),
            number(outcome.ratio, ".1f"), score(outcome.best), f"{outcome.total:.0f}",
        )
        for outcome in outcomes
    ]  # fmt: skip
    title = (
        f"to {space.objective} {score(float(str(facts['target'])))}: medians of {facts['repeats']} searches of "
        f"{facts['trials']} trials, {facts['workers']} at a time, on {facts['curves']} recorded curves"
    )
    columns = ("method", "found it", "epochs", "hours", "times cheaper", "best", "epochs in all")
    console().print(table(columns, rows, title, right="found_it epochs hours times_cheaper best epochs_in_all"))
