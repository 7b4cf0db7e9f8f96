"""``lesion-search promote | rollback | history``: from a study to a model in the registry, and back."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.commands.options import again, command, json_option, whole, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.gates import Verdict
    from search.promotion import Promotion, Rehearsal

VIEWS = (1, 2, 4, 8)
SCORES = ("mean_auc", "balanced_accuracy", "macro_auc", "macro_ap", "accuracy", "macro_f1", "log_loss", "ece")
"""Test scores that are printed; --json has all of them."""
STYLES = {"passed": "green", "failed": "red", "not judged": "dim"}


def add(commands: Commands) -> None:
    """The commands around a registered model."""
    _add_promote(commands)
    _add_rollback(commands)
    _add_history(commands)


def _add_promote(commands: Commands) -> None:
    parser = command(
        commands, "promote", promote,
        "Make the best trials of a study the champion in MLflow's registry. Of finalists, those average their "
        "probabilities that judge validation best together; without any, trials that validation cannot tell from "
        "the best one. The test part is then scored, once, and the model registered; it becomes the champion if all "
        "gates pass, or else the command ends with 1. Promoting the same trials again changes nothing.",
        "isic2017",
        "isic2017 --dry-run",
        "isic2017 --gates gates.yaml",
        "isic2017 --ensemble 1 --model isic2017-single",
        "isic2017 --json",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    parser.add_argument("--model", metavar="NAME", help="name in the registry (default: the study's)")
    parser.add_argument("--gates", type=Path, metavar="FILE", help="what a champion must show (default: the package's)")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen; the test part stays closed")
    parser.add_argument("--ensemble", type=whole, default=5, metavar="N", help="trials at most (default 5)")
    parser.add_argument(
        "--from", choices=("folds", "seeds", "search"), dest="source",
        help="make it of finalists on folds or on fresh seeds, or of the search's trials (default: the first of these)",
    )  # fmt: skip
    parser.add_argument("--views", type=int, choices=VIEWS, default=8, help="flips and turns averaged (default 8)")
    workspace_option(parser)
    json_option(parser)


def _add_rollback(commands: Commands) -> None:
    parser = command(
        commands, "rollback", rollback,
        "Make the version before the champion the champion again; the two change places.",
        "isic2017",
        "isic2017 --to 3",
    )  # fmt: skip
    parser.add_argument("model", metavar="NAME", help="name in the registry")
    parser.add_argument("--to", type=whole, metavar="VERSION", help="the version (default: the one before)")
    workspace_option(parser)
    json_option(parser)


def _add_history(commands: Commands) -> None:
    parser = command(
        commands, "history", history,
        "List the versions of a registered model: when, of which study, what the gates said, which is champion; and "
        "how the champion moved.",
        "isic2017",
        "isic2017 --json",
    )  # fmt: skip
    parser.add_argument("model", metavar="NAME", help="name in the registry")
    workspace_option(parser)
    json_option(parser)


def promote(args: argparse.Namespace) -> int:
    """``promote``; 1 where a gate stops it."""
    from search.display import console, print_json, say  # noqa: PLC0415 - heavy imports wait until they are needed

    with console(stderr=True).status("reading the study") as spinner:
        from lesion.allocator import keep_freed_memory  # noqa: PLC0415
        from search.promotion import promote as make_champion  # noqa: PLC0415
        from search.promotion import rehearse  # noqa: PLC0415

        keep_freed_memory()  # or the system clears the maps of every batch anew
        terminal = console(stderr=True).is_terminal
        wanted: dict[str, Any] = {
            "model": args.model, "ensemble": args.ensemble, "source": args.source, "views": args.views,
            "gates": args.gates, "progress": spinner.update if terminal else lambda text: say(text, stderr=True),
        }  # fmt: skip
        if args.dry_run:
            return _show_rehearsal(args, rehearse(args.study, args.workspace, **wanted))
        promotion = make_champion(args.study, args.workspace, **wanted)
    if args.json:
        print_json(_promotion_json(promotion))
        return 0 if promotion.passed else 1
    _show_scores(promotion)
    if promotion.flagging is not None:
        say(f"flagged: {promotion.point}", f"  on the test part: {promotion.flagging}")
    _show_gates(promotion.verdicts)
    say(*(f"note: {text}" for text in promotion.notes), style="yellow")
    say(promotion.message, style="bold")
    say(*_next(args, promotion), style="dim")
    return 0 if promotion.passed else 1


def _next(args: argparse.Namespace, promotion: Promotion) -> list[str]:
    """How to go on: with the model, or, where a gate stopped it, with what could make another one pass."""
    if promotion.passed:
        return [f"next: {again(args, 'predict', promotion.uri, 'PHOTO')}"]
    return [
        f"next: {again(args, 'history', promotion.model)}   (evidence/model_card.md of its run says what it lacks)",
        "  a better model takes a longer search, other settings or finalists; other gates are given with --gates FILE",
    ]


def rollback(args: argparse.Namespace) -> int:
    """``rollback``."""
    from search.display import print_json, say  # noqa: PLC0415
    from search.versions import rollback as roll_back  # noqa: PLC0415

    move = roll_back(args.model, args.workspace, to=args.to)
    if args.json:
        print_json({"model": args.model, **vars(move)})
        return 0
    say(f"{args.model} version {move.to} is models:/{args.model}@champion in place of version {move.before}")
    say(f"back again: {again(args, 'rollback', args.model)}", style="dim")
    return 0


def history(args: argparse.Namespace) -> int:
    """``history``."""
    from search.display import console, print_json, table  # noqa: PLC0415
    from search.versions import history as read_history  # noqa: PLC0415

    found = read_history(args.model, args.workspace)
    if args.json:
        versions = [asdict(version) for version in found.versions]
        print_json({"model": found.model, "versions": versions, "moves": [vars(move) for move in found.moves]})
        return 0
    rows = [
        (
            str(version.number), ", ".join(version.aliases), version.created, version.study, version.gates,
        )
        for version in found.versions
    ]  # fmt: skip
    console().print(table(("version", "alias", "when", "study", "gates"), rows, found.model))
    judged = [
        (each.at or "not noted", str(version.number), f"{each.file} {each.digest}", each.told)
        for version in found.versions
        for each in reversed(version.judgements)
    ]
    if judged:
        console().print(table(("when", "version", "gates", "said"), judged, "judgements"))
    moves = [(move.at, str(move.to), str(move.before or "–"), move.why) for move in found.moves]
    if moves:
        console().print(table(("when", "champion", "before", "why"), moves, "moves"))
    return 0


def _promotion_json(promotion: Promotion) -> dict[str, object]:
    return {
        "model": promotion.model,
        "version": promotion.version,
        "alias": promotion.alias if promotion.champion else None,
        "uri": promotion.uri,
        "run_id": promotion.run_id,
        "trials": [row.number if row.series is None else row.label for row in promotion.members],
        "test_images": promotion.test_images,
        "test": promotion.metrics,
        "passed": promotion.passed,
        "told": promotion.told,
        "gates": [verdict.to_dict() for verdict in promotion.verdicts],
        "operating_point": None if promotion.point is None else asdict(promotion.point),
        "operating_point_on_test": None if promotion.flagging is None else promotion.flagging.to_dict(),
        "repeated": promotion.repeated,
        "opened": promotion.opened.own,
        "opened_by_others": dict(promotion.opened.others),
        "notes": list(promotion.notes),
    }


def _show_rehearsal(args: argparse.Namespace, rehearsal: Rehearsal) -> int:
    from search.display import print_json, say  # noqa: PLC0415
    from search.gates import summed_up  # noqa: PLC0415

    predictor, trials = rehearsal.predictor, [row.label for row in rehearsal.members]
    if args.json:
        print_json({
            "model": rehearsal.model,
            "trials": trials,
            "version": rehearsal.version,
            "champion": rehearsal.champion,
            "opened": rehearsal.opened.own,
            "opened_by_others": dict(rehearsal.opened.others),
            "scored": rehearsal.scored,
            "temperature": predictor.rules.temperature,
            "validation": rehearsal.validation.to_dict()["metrics"],
            "gates_on_validation": [verdict.to_dict() for verdict in rehearsal.verdicts],
            "told_on_validation": summed_up(rehearsal.verdicts),
            "notes": list(rehearsal.notes),
        })  # fmt: skip
        return 0
    say(f"would promote trials {', '.join(trials)} as {rehearsal.model}, averaged over {predictor.views} views")
    say(f"  temperature {predictor.rules.temperature:.3f}, set on {len(rehearsal.validation.images)} validation images")
    if predictor.rules.operating_point is not None:
        say(f"  flagged: {predictor.rules.operating_point}")
    _show_gates(rehearsal.verdicts, "gates on validation, which flatters: the search was chosen by it")
    say(f"on validation: {summed_up(rehearsal.verdicts)}")
    say(*(f"note: {text}" for text in rehearsal.notes), style="yellow")
    if rehearsal.version is not None:
        say(f"these trials are version {rehearsal.version} already; they would be judged by what is known of it")
    elif rehearsal.scored:
        say(f"the test part has scored {rehearsal.opened.models}, these trials among them: it would not be opened anew")
    else:
        say(f"the test part has scored {rehearsal.opened.models}; this would be one more")
    now = "there is no champion yet" if rehearsal.champion is None else f"version {rehearsal.champion} is the champion"
    say(f"{now}; nothing was opened, registered or moved", style="bold")
    return 0


def _show_gates(verdicts: Sequence[Verdict], title: str = "gates, on the test part") -> None:
    from rich.text import Text  # noqa: PLC0415

    from search.display import console, say, table  # noqa: PLC0415

    rows = [
        (
            verdict.gate, "–" if verdict.interval is None else str(verdict.interval), verdict.rule,
            Text(verdict.outcome, STYLES[verdict.outcome]),
        )
        for verdict in verdicts
    ]  # fmt: skip
    if rows:
        console().print(table(("gate", "found", "must be", "verdict"), rows, title))
    for verdict in verdicts:
        if verdict.outcome == "failed":
            say(f"{verdict.gate}: {verdict.why}", style="red")
        elif verdict.outcome == "not judged":
            say(f"{verdict.gate}: not judged, {verdict.why}", style="dim")


def _show_scores(promotion: Promotion) -> None:
    from lesion.metrics.catalogue import METRICS  # noqa: PLC0415
    from search.display import console, table  # noqa: PLC0415

    scores = promotion.metrics
    title = f"test part, {promotion.test_images:,} images, with 95 % intervals"
    rows = [(name, _interval(scores[name]), METRICS[name].description) for name in SCORES if name in scores]
    console().print(table(("metric", "test", "meaning"), rows, title))
    columns = ("auc", "sensitivity", "specificity")
    classes = [name.removeprefix("sensitivity_") for name in scores if name.startswith("sensitivity_")]
    console().print(table(("class", *columns), [(name, *_of_class(scores, columns, name)) for name in classes]))


def _of_class(scores: Mapping[str, list[float | None]], columns: Sequence[str], name: str) -> list[str]:
    return [_interval(scores.get(f"{column}_{name}", [None] * 3)) for column in columns]


def _interval(score: Sequence[float | None]) -> str:
    value, low, high = score
    if value is None or low is None or high is None:
        return "undefined"
    return f"{value:.3f} ({low:.3f}–{high:.3f})"
