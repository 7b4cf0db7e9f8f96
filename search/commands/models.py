"""``lesion-search promote | predict``: from a study to a model, from a photo to a judgement."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.options import again, command, json_option, whole, workspace_option

if TYPE_CHECKING:
    from lesion.predictor import PredictionTable
    from search.commands.options import Commands
    from search.promotion import Promotion

VIEWS = (1, 2, 4, 8)
PHOTOS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
SCORES = ("mean_auc", "balanced_accuracy", "macro_auc", "macro_ap", "accuracy", "macro_f1", "log_loss", "ece")
"""Test scores that are printed; --json has all of them."""
SHOWN = 50
"""Rows that are printed where a file holds all of them."""


def add(commands: Commands) -> None:
    """The commands around a model."""
    _add_promote(commands)
    _add_predict(commands)


def _add_promote(commands: Commands) -> None:
    parser = command(
        commands, "promote", promote,
        "Make the best trials of a study the champion in MLflow's registry. Trials that validation cannot tell from "
        "the best one average their probabilities; the test part is then scored, once, and the model registered. "
        "Promoting the same trials again changes nothing.",
        "isic2017",
        "isic2017 --ensemble 1 --model isic2017-single",
        "isic2017 --json",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    parser.add_argument("--model", metavar="NAME", help="name in the registry (default: the study's)")
    parser.add_argument("--ensemble", type=whole, default=5, metavar="N", help="trials at most (default 5)")
    parser.add_argument("--views", type=int, choices=VIEWS, default=8, help="flips and turns averaged (default 8)")
    workspace_option(parser)
    json_option(parser)


def _add_predict(commands: Commands) -> None:
    parser = command(
        commands, "predict", predict,
        "Judge photos with a model. MODEL is models:/NAME@champion, models:/NAME/VERSION or a model's folder. What "
        "cannot be read is listed and the rest done; the command then ends with 1.",
        "models:/isic2017@champion photo.jpg",
        "models:/isic2017/3 photos/ --output predictions.csv",
        "models:/isic2018@champion photos/ --people patients.csv",
        "model/ photo.jpg --views 1 --json",
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a registered model or a model's folder")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="photos, and folders of photos")
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write the official ISIC CSV layout")
    parser.add_argument("--views", type=int, choices=VIEWS, help="flips and turns averaged (default: the model's)")
    parser.add_argument(
        "--people", type=Path, metavar="FILE.csv", help="columns image, age, sex, site: for models that ask for them"
    )
    workspace_option(parser)
    json_option(parser)


def promote(args: argparse.Namespace) -> int:
    """``promote``."""
    from search.display import console, print_json, say  # noqa: PLC0415 - heavy imports wait until they are needed

    with console(stderr=True).status("reading the study") as spinner:
        from search.promotion import promote as make_champion  # noqa: PLC0415

        terminal = console(stderr=True).is_terminal
        promotion = make_champion(
            args.study, args.workspace, model=args.model, ensemble=args.ensemble, views=args.views,
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
        "trials": [row.number for row in promotion.members],
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


def predict(args: argparse.Namespace) -> int:
    """``predict``; 1 where a photo could not be read."""
    from dataclasses import replace  # noqa: PLC0415

    from lesion.people import people_of, read_people  # noqa: PLC0415
    from lesion.predictor import Predictor  # noqa: PLC0415
    from search.display import bar, print_json, say  # noqa: PLC0415

    files = photos(args.images)
    predictor = Predictor.load(_folder(args))
    if args.views:
        predictor = replace(predictor, views=args.views)
    people = people_of(files, read_people(args.people)) if args.people else None
    if predictor.asks_for_people and people is None:
        say("the model asks for age, sex and site: give --people FILE.csv, or they count as unknown", stderr=True)
    with bar() as progress:
        found = predictor.predict_files(files, lambda done, count: progress(done, count, "photos"), people=people)
    if args.output:
        found.official_csv(args.output)
    if args.json:
        print_json(_predictions_json(args.model, found))
    else:
        _show_predictions(found, SHOWN if args.output else len(found.files))
    if args.output:
        say(f"{len(found.files)} rows in {args.output}", stderr=True)
    say(*(f"{file} {why}" for file, why in found.broken.items()), style="red", stderr=True)
    return 1 if found.broken else 0


def photos(given: Iterable[Path]) -> list[Path]:
    """Photos as given, folders replaced by the photos in and below them; DataError for a folder without any."""
    from lesion.errors import DataError  # noqa: PLC0415

    found: list[Path] = []
    for path in map(Path.expanduser, given):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in PHOTOS and file.is_file())
            if not inside:
                raise DataError(f"{path}: no photo in this folder ({', '.join(PHOTOS)})")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _folder(args: argparse.Namespace) -> Path:
    """The model's folder; Ray is not imported, for the machines where photos are judged have none."""
    if not args.model.startswith("models:/"):
        return Path(args.model).expanduser()
    from search.registered import Registry  # noqa: PLC0415
    from search.workspace import existing_workspace  # noqa: PLC0415

    place = existing_workspace(args.workspace)
    return Registry(place.tracking_uri, place.artifacts).download(args.model)


def _show_predictions(found: PredictionTable, limit: int) -> None:
    from search.display import console, say, table  # noqa: PLC0415

    frame = found.to_frame()
    rows = [
        (row["image"], str(row["decision"]), *(f"{row[f'p_{name}']:.3f}" for name in found.classes))
        for row in frame.head(limit).to_dict("records")
    ]
    if rows:
        console().print(table(("image", "decision", *found.classes), rows, right=" ".join(found.classes)))
    if len(frame) > limit:
        say(f"… and {len(frame) - limit} more", style="dim")


def _predictions_json(model: str, found: PredictionTable) -> Mapping[str, object]:
    rows = [
        {
            "image": row["image"],
            "decision": row["decision"],
            "confidence": row["confidence"],
            "probabilities": {name: row[f"p_{name}"] for name in found.classes},
        }
        for row in found.to_frame().to_dict("records")
    ]
    return {"model": model, "classes": list(found.classes), "predictions": rows, "broken": dict(found.broken)}
