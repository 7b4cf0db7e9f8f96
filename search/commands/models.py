"""``lesion-search promote``: from a study to a model in the registry."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.commands.options import again, command, json_option, whole, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.promotion import Promotion

VIEWS = (1, 2, 4, 8)
SCORES = ("mean_auc", "balanced_accuracy", "macro_auc", "macro_ap", "accuracy", "macro_f1", "log_loss", "ece")
"""Test scores that are printed; --json has all of them."""


def add(commands: Commands) -> None:
    """The commands around a model."""
    _add_promote(commands)


def _add_promote(commands: Commands) -> None:
    parser = command(
        commands, "promote", promote,
        "Make the best trials of a study the champion in MLflow's registry. Of finalists, those average their "
        "probabilities that judge validation best together; without any, trials that validation cannot tell from "
        "the best one. The test part is then scored, once, and the model registered. Promoting the same trials again "
        "changes nothing.",
        "isic2017",
        "isic2017 --ensemble 1 --model isic2017-single",
        "isic2017 --json",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    parser.add_argument("--model", metavar="NAME", help="name in the registry (default: the study's)")
    parser.add_argument("--ensemble", type=whole, default=5, metavar="N", help="trials at most (default 5)")
    parser.add_argument(
        "--from", choices=("folds", "seeds", "search"), dest="source",
        help="make it of finalists on folds or on fresh seeds, or of the search's trials (default: the first of these)",
    )  # fmt: skip
    parser.add_argument("--views", type=int, choices=VIEWS, default=8, help="flips and turns averaged (default 8)")
    workspace_option(parser)
    json_option(parser)


def promote(args: argparse.Namespace) -> int:
    """``promote``."""
    from search.display import console, print_json, say  # noqa: PLC0415 - heavy imports wait until they are needed

    with console(stderr=True).status("reading the study") as spinner:
        from search.promotion import promote as make_champion  # noqa: PLC0415

        terminal = console(stderr=True).is_terminal
        promotion = make_champion(
            args.study, args.workspace, model=args.model, ensemble=args.ensemble, source=args.source, views=args.views,
            progress=spinner.update if terminal else lambda text: say(text, stderr=True),
        )  # fmt: skip
    if args.json:
        print_json(_promotion_json(promotion))
        return 0
    _show_scores(promotion)
    say(*(f"note: {text}" for text in promotion.notes), style="yellow")
    say(promotion.message, style="bold")
    say(f"next: {again(args, 'predict', promotion.uri, 'PHOTO')}", style="dim")
    return 0


def _promotion_json(promotion: Promotion) -> dict[str, object]:
    return {
        "model": promotion.model,
        "version": promotion.version,
        "alias": promotion.alias,
        "uri": promotion.uri,
        "run_id": promotion.run_id,
        "trials": [row.number if row.series is None else row.label for row in promotion.members],
        "test_images": promotion.test_images,
        "test": promotion.metrics,
        "repeated": promotion.repeated,
        "notes": list(promotion.notes),
    }


def _show_scores(promotion: Promotion) -> None:
    from lesion.metrics.catalogue import METRICS  # noqa: PLC0415
    from search.display import console, table  # noqa: PLC0415

    scores = promotion.metrics
    title = f"test part, {promotion.test_images:,} images, with 95 % intervals"
    rows = [(name, _interval(scores[name]), METRICS[name].description) for name in SCORES if name in scores]
    console().print(table(("metric", "test", "meaning"), rows, title))
    columns = ("auc", "sensitivity", "specificity")
    classes = [name.removeprefix("sensitivity_") for name in scores if name.startswith("sensitivity_")]
    rows_of_classes = [
        (name, *(_interval(scores.get(f"{column}_{name}", [None] * 3)) for column in columns)) for name in classes
    ]
    console().print(table(("class", *columns), rows_of_classes))


def _interval(score: Sequence[float | None]) -> str:
    value, low, high = score
    if value is None or low is None or high is None:
        return "undefined"
    return f"{value:.3f} ({low:.3f}–{high:.3f})"
