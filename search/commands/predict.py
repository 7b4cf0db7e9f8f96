"""``lesion-search predict | explain``: what a model says of photos, and why.

Ray is not imported: the machines where photos are judged have none. A model's folder needs no MLflow either.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion.writing import write_atomically
from search.commands.options import begins_anew, command, json_option, workspace_option

if TYPE_CHECKING:
    from lesion.judgements import PredictionTable
    from lesion.photo_lists import PhotoList
    from lesion.predictor import Predictor
    from search.commands.options import Commands

VIEWS = (1, 2, 4, 8)
SHOWN = 50
"""Rows that are printed where a file holds all of them."""


def add(commands: Commands) -> None:
    """The commands that use a model."""
    _add_predict(commands)
    _add_explain(commands)


def _add_predict(commands: Commands) -> None:
    parser = command(
        commands, "predict", predict,
        "Judge photos with a model. MODEL is models:/NAME@champion, models:/NAME/VERSION or a model's folder. Photos "
        "are files, folders, or CSV lists with a column image. What cannot be read is listed and the rest done; the "
        "command then ends with 1.",
        "models:/isic2017@champion photo.jpg",
        "models:/isic2017/3 photos/ --table judged.csv --output official.csv",
        "models:/isic2018@champion photos/ --people patients.csv",
        "models:/isic2017@champion photos.csv --explain why/",
        "model/ photo.jpg --views 1 --json",
    )  # fmt: skip
    _photo_arguments(parser)
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write the official ISIC CSV layout")
    parser.add_argument("--table", type=Path, metavar="FILE.csv", help="write everything that is said of each photo")
    parser.add_argument("--explain", type=Path, metavar="DIR", help="write Grad-CAM pictures of what is decided")
    workspace_option(parser)
    json_option(parser)


def _add_explain(commands: Commands) -> None:
    parser = command(
        commands, "explain", explain,
        "Show which places of photos speak for a class. Grad-CAM on the last feature map of the backbone, for the "
        "class decided or --target; heads with attention also show where they looked. For each photo four pictures, "
        "the photo and a JSON are written, and a contact sheet of all.",
        "models:/isic2017@champion photo.jpg --out why/",
        "model/ photos/ --out why/ --target melanoma --views 1",
        "model/ photos/ --out why/ --target melanoma --sanity",
    )  # fmt: skip
    _photo_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--target", metavar="CLASS", help="the class to look for (default: what is decided)")
    parser.add_argument(
        "--sanity", action="store_true",
        help="also compare with maps of a model whose weights are made random: they must not be alike",
    )  # fmt: skip
    workspace_option(parser)
    json_option(parser)


def _photo_arguments(parser: argparse.ArgumentParser) -> None:
    begins_anew(parser)
    parser.add_argument("model", metavar="MODEL", help="a registered model or a model's folder")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="photos, folders of photos, CSV lists")
    parser.add_argument("--views", type=int, choices=VIEWS, help="flips and turns averaged (default: the model's)")
    parser.add_argument(
        "--people", type=Path, metavar="FILE.csv", help="columns image, age, sex, site: for models that ask for them"
    )


def predict(args: argparse.Namespace) -> int:
    """``predict``; 1 where a photo could not be read."""
    from search.display import bar, print_json, say  # noqa: PLC0415 - heavy imports wait until they are needed

    photos, predictor = _asked(args)
    _check_outputs(args, photos)
    with bar() as progress:
        found = predictor.predict_files(
            photos.files, lambda done, count: progress(done, count, "photos"), people=photos.people
        )
    if args.table:
        _write_table(found, args.table)
    if args.output:
        found.official_csv(args.output)
    if args.json:
        print_json(_predictions_json(args.model, found))
    else:
        _show_predictions(found, SHOWN if args.output or args.table else len(found.files))
    for file in filter(None, (args.output, args.table)):
        say(f"{len(found.files)} rows in {file}", stderr=True)
    if args.explain:
        _explain(predictor, photos, args.explain, None)
    say(*(f"{file} {why}" for file, why in found.broken.items()), style="red", stderr=True)
    return 1 if found.broken else 0


def explain(args: argparse.Namespace) -> int:
    """``explain``; 1 where a photo could not be read."""
    from search.display import print_json, say  # noqa: PLC0415

    photos, predictor = _asked(args)
    broken, sheets = _explain(predictor, photos, args.out, args.target)
    facts: dict[str, Any] = {"folder": str(args.out), "sheets": list(map(str, sheets)), "broken": broken}
    if args.sanity:
        facts |= _sanity(predictor, photos, broken, args.target)
    if args.json:
        print_json(facts)
    say(*(f"{file} {why}" for file, why in broken.items()), style="red", stderr=True)
    return 1 if broken else 0


def _asked(args: argparse.Namespace) -> tuple[PhotoList, Predictor]:
    from dataclasses import replace  # noqa: PLC0415

    from lesion.allocator import keep_freed_memory  # noqa: PLC0415
    from lesion.photo_lists import gather  # noqa: PLC0415
    from lesion.predictor import Predictor  # noqa: PLC0415
    from search.basis import caveat, other_views  # noqa: PLC0415
    from search.display import say  # noqa: PLC0415

    keep_freed_memory()  # or the system clears the maps of every batch anew
    photos = gather(args.images, args.people)
    predictor = Predictor.load(model_of(args))
    photos.require_any()
    if args.views:
        say(*filter(None, [other_views(predictor, args.views)]), style="yellow", stderr=True)
        predictor = replace(predictor, views=args.views)
    if predictor.rules.operating_point is not None:
        say(*filter(None, [caveat(predictor.provenance)]), style="yellow", stderr=True)
    if predictor.asks_for_people and photos.people is None:
        say("the model asks for age, sex and site: give --people FILE.csv, or they count as unknown", stderr=True)
    return photos, predictor


def _check_outputs(args: argparse.Namespace, photos: PhotoList) -> None:
    """Find out before photos are judged, which may take hours, what would keep the results from being written."""
    from lesion.errors import DataError  # noqa: PLC0415
    from lesion.submission import image_ids  # noqa: PLC0415

    files = {option: path for option in ("table", "output") if (path := getattr(args, option))}
    given = [path for path in (*args.images, *photos.files, args.people) if path]
    wrong = [f"--{option} {path} {why}" for option, path in files.items() if (why := _unwritable(path, given))]
    if len({os.path.realpath(path) for path in files.values()}) < len(files):
        wrong.append(f"--table and --output are one file, {args.table}: give them two names")
    if args.output:
        try:
            image_ids(list(map(str, photos.files)))
        except DataError as problem:
            wrong.append(f"--output {args.output}: {problem}. Leave one of them out, or ask for --table alone")
    if wrong:
        raise DataError("\n".join(wrong))
    if args.explain:
        args.explain.mkdir(parents=True, exist_ok=True)


def _unwritable(path: Path, given: Iterable[Path]) -> str:
    """Why results cannot be written to `path`; "" where they can."""
    if path.is_dir():
        return "is a folder; name a file in it"
    if not path.parent.is_dir():
        return f"cannot be written: there is no folder {path.parent}"
    if not os.access(path.parent, os.W_OK):
        return f"cannot be written: the folder {path.parent} is not writable for you"
    if os.path.realpath(path) in map(os.path.realpath, given):
        return "is one of the files that are read; choose another name"
    return ""


def model_of(args: argparse.Namespace) -> Path:
    """The folder of the model that is meant."""
    if not args.model.startswith("models:/"):
        return Path(args.model).expanduser()
    from search.registered import Registry  # noqa: PLC0415
    from search.workspace import existing_workspace  # noqa: PLC0415

    place = existing_workspace(args.workspace)
    return Registry(place.tracking_uri, place.artifacts).download(args.model)


def _explain(
    predictor: Predictor, photos: PhotoList, folder: Path, target: str | None
) -> tuple[dict[str, str], list[Path]]:
    """Write explanations; what could not be read, with the reason, and the contact sheets."""
    from lesion.explain import explain as explanations  # noqa: PLC0415
    from lesion.explanation_files import ExplanationFolder  # noqa: PLC0415
    from search.display import bar, say  # noqa: PLC0415

    broken: dict[str, str] = {}
    written = ExplanationFolder(folder, {str(file): label for file, label in photos.labels.items()})
    with bar() as progress:
        found = explanations(predictor, photos.files, target=target, people=photos.people, broken=broken.__setitem__)
        for done, why in enumerate(found, 1):
            written.add(why)
            progress(done + len(broken), len(photos.files), "explained")
    sheets = written.close()
    count = len(predictor.members)
    of = f"the mean of {count} members' maps" if count > 1 else "of one network"
    say(f"{len(photos.files) - len(broken)} photos explained in {folder}, {of}", *map(str, sheets), stderr=True)
    return broken, sheets


def _sanity(
    predictor: Predictor, photos: PhotoList, broken: Mapping[str, str], target: str | None
) -> dict[str, object]:
    from lesion.rules import suspected  # noqa: PLC0415
    from lesion.sanity import cascade  # noqa: PLC0415
    from search.display import console, say, table  # noqa: PLC0415

    sound = [place for place, file in enumerate(photos.files) if str(file) not in broken]
    found = cascade(
        predictor,
        [photos.files[place] for place in sound],
        target=target or (*suspected(predictor.classes), *predictor.classes)[0],
        people=None if photos.people is None else photos.people.iloc[sound],
    )
    rows = [(part, f"{value:.3f}") for part, value in found.correlations.items()]
    title = (
        "rank correlation with the true maps, weights made random from the head downwards, of "
        f"{found.compared} of {len(sound)} photos"
    )
    if rows:
        console(stderr=True).print(table(("down to", "correlation"), rows, title, right="correlation"))
    told = found.in_words
    say(f"--sanity: {told}", stderr=True)
    return {"sanity": dict(found.correlations), "sanity_photos": found.compared, "sanity_told": told}


def _show_predictions(found: PredictionTable, limit: int) -> None:
    from search.display import console, say, table  # noqa: PLC0415

    frame, point, levels = found.to_frame(), found.rules.operating_point, _level_columns(found)
    flag = () if point is None else ("flagged",)
    rows = [
        (
            row["image"],
            str(row["decision"]),
            *("yes" if row[name] else "no" for name in flag),
            f"{row['entropy']:.2f}",
            f"{row['disagreement']:.2f}",
            *(f"{row[f'p_{name}']:.3f}" for name in found.classes),
            *(f"{row[column]:.3f}" for column in levels),
        )
        for row in frame.head(limit).to_dict("records")
    ]
    if rows:
        numbers = ("entropy", "disagreement", *found.classes, *levels.values())
        console().print(table(("image", "decision", *flag, *numbers), rows, right=" ".join(numbers)))
    if len(frame) > limit:
        say(f"… and {len(frame) - limit} more", style="dim")
    if point is not None and rows:
        say(f"flagged: {point}", style="dim")


def _level_columns(found: PredictionTable) -> dict[str, str]:
    """The words of a taxonomy by the column that holds their probability."""
    return {f"level_{number}_{word}": word for number, level in enumerate(found.levels, 1) for word in level}


def _levels_of(found: PredictionTable, row: int) -> list[dict[str, float]]:
    return [{word: float(p[row]) for word, p in level.items()} for level in found.levels]


def _write_table(found: PredictionTable, path: Path) -> None:
    write_atomically(path, found.to_frame().to_csv(index=False).encode())


def _predictions_json(model: str, found: PredictionTable) -> Mapping[str, object]:
    from dataclasses import asdict  # noqa: PLC0415

    point = found.rules.operating_point
    apart = {*_level_columns(found), *(f"p_{name}" for name in found.classes)}
    rows = [
        {
            **{str(name): value for name, value in row.items() if name not in apart},
            "probabilities": {name: row[f"p_{name}"] for name in found.classes},
            **({"levels": _levels_of(found, n)} if found.levels else {}),
        }
        for n, row in enumerate(found.to_frame().to_dict("records"))
    ]
    return {
        "model": model,
        "classes": list(found.classes),
        "operating_point": None if point is None else asdict(point),
        "predictions": rows,
        "broken": dict(found.broken),
    }
