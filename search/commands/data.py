"""``lesion-search data``: sources of images become packed data sets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.commands.exploration import add_augmentations, add_explore
from search.commands.options import again, command, json_option, natural, whole, workspace_option

if TYPE_CHECKING:
    from lesion.data.check import Report
    from lesion.data.external import ExternalSource
    from lesion.data.packed import PackedDataset
    from search.commands.options import Commands

SHOWN = 20
"""Findings of a kind that a listing shows; --json has them all."""


def add(commands: Commands) -> None:
    """The group ``data``."""
    sentence = "Prepare, check, explore, draw and download data sets."
    group = commands.add_parser("data", help="prepare, check, explore and download data sets", description=sentence)
    examples = ("download isic2017 downloads/isic2017", "check downloads/isic2017", "prepare downloads/isic2017")
    group.epilog = "examples:\n" + "\n".join(f"  {group.prog} {example}" for example in examples)
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_prepare(inner)
    _add_check(inner)
    add_explore(inner)
    add_augmentations(inner)
    _add_synthesise(inner)
    _add_download(inner)


def _add_prepare(commands: Commands) -> None:
    parser = command(
        commands, "prepare", prepare,
        "Pack a source of images into the workspace. A source is a folder with the official files of ISIC 2017 Part 3 "
        "or ISIC 2018 Task 3 (zips or unpacked), or a folder, zip or CSV of images of your own with a CSV manifest "
        "(columns image, label, and optionally part, lesion, patient, age, sex, site). Interrupted, it continues.",
        "../shared/data/isic2017",
        "~/photos --name clinic --size 384 --geometry pad --folds 5 --test 0.2",
        "photos.zip --name clinic --replace",
        "~/photos --external ~/isic2018 --as mole=NV --as melanoma=MEL",
    )  # fmt: skip
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder, zip or CSV manifest")
    parser.add_argument("--name", help="what the data set is called (default: from the source)")
    parser.add_argument("--size", type=int, default=256, metavar="PIXELS", help="pixels a side (default 256)")
    parser.add_argument(
        "--geometry", default="stretch", help="how a photo becomes a square: stretch, crop or pad (default stretch)"
    )
    parser.add_argument("--folds", type=natural, metavar="N", help="cross-validation folds, 0 for none (default 5)")
    parser.add_argument(
        "--test", type=float, metavar="SHARE", help="share of a test part (default: the official one, else 0.15)"
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the splits (default 0)")
    parser.add_argument("--workers", type=whole, metavar="N", help="processes that decode (default: one a core)")
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")
    parser.add_argument(
        "--no-look-alikes", action="store_true", help="do not look for photos that look the same, to keep them together"
    )
    parser.add_argument("--replace", action="store_true", help="replace another data set of this name")
    _external_options(parser)
    workspace_option(parser)


def _external_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--external", type=Path, metavar="SOURCE",
        help="another source, to be trained on only; the data set is then called NAME_external unless --name is given",
    )  # fmt: skip
    parser.add_argument(
        "--as", action="append", default=[], metavar="OURS=THEIRS", dest="classes", type=_pair,
        help="a class, and what the external source calls it; may be repeated, classes not named are left out",
    )  # fmt: skip
    parser.add_argument(
        "--most", type=whole, metavar="N",
        help="at most N lesions of each class of the external source, one photo of each, drawn with --seed "
        "(default: every photo)",
    )  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    ours, _, theirs = text.partition("=")
    if not ours or not theirs:
        raise argparse.ArgumentTypeError(f"{text!r} is not OURS=THEIRS, e.g. melanoma=MEL")
    return ours, theirs


def _add_check(commands: Commands) -> None:
    parser = command(
        commands, "check", check,
        "Say what is in a source, and what is wrong with it. Every image is decoded; missing, extra, broken, "
        "conflicting and byte-identical images are listed, and lesions in two parts. Ends with 1 if the source "
        "cannot be prepared as it is.",
        "../shared/data/isic2017",
        "workspace/data/isic2017",
        "~/photos --json",
    )  # fmt: skip
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder, zip or CSV manifest, or a packed data set")
    parser.add_argument("--workers", type=whole, metavar="N", help="processes that decode (default: one a core)")
    json_option(parser)


def _add_synthesise(commands: Commands) -> None:
    parser = command(
        commands, "synthesise", synthesise,
        "Draw a small data set in the official layout. Its lesions are drawn, its classes can be learnt: for trying "
        "things out.",
        "drawn/isic2017",
        "drawn/isic2018 --layout isic2018 --images 300 0 0 --seed 1",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")
    parser.add_argument("--layout", default="isic2017", help="isic2017 or isic2018 (default isic2017)")
    parser.add_argument(
        "--images", type=natural, nargs=3, metavar=("TRAIN", "VALIDATION", "TEST"), help="images of each part"
    )
    parser.add_argument(
        "--pixels", type=whole, nargs=2, default=(128, 96), metavar=("WIDTH", "HEIGHT"), help="default 128 96"
    )
    parser.add_argument("--seed", type=natural, default=0, help="the same seed draws the same images (default 0)")
    parser.add_argument("--unpacked", action="store_true", help="folders instead of zips")


def _add_download(commands: Commands) -> None:
    parser = command(
        commands, "download", download,
        "Fetch the official files of a challenge from the ISIC archive. A download that breaks off is continued by "
        "the same command; what is there and whole is not fetched again.",
        "isic2017 downloads/isic2017",
        "isic2018 downloads/isic2018",
    )  # fmt: skip
    parser.add_argument("dataset", metavar="DATASET", help="isic2017 or isic2018")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files go")


def prepare(args: argparse.Namespace) -> int:
    """``data prepare``."""
    from lesion.data.prepare import prepare as pack  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.display import bar  # noqa: PLC0415
    from search.workspace import open_workspace  # noqa: PLC0415

    external = _external_source(args)
    workspace = open_workspace(args.workspace)
    with bar() as progress:
        data = pack(
            args.source.expanduser(), workspace.path, name=args.name, size=args.size, geometry=args.geometry,
            folds=args.folds, test=args.test, seed=args.seed, workers=args.workers, skip_broken=args.skip_broken,
            replace=args.replace, look_alikes=not args.no_look_alikes, external=external, progress=progress,
        )  # fmt: skip
    _show_prepared(data, args)
    return 0


def _external_source(args: argparse.Namespace) -> ExternalSource | None:
    from lesion.data.external import ExternalSource as Source  # noqa: PLC0415
    from lesion.errors import DataError  # noqa: PLC0415

    if args.external is None:
        given = [option for option, value in (("--as", args.classes), ("--most", args.most)) if value]
        if given:
            raise DataError(f"{' and '.join(given)} without --external: name the source of the external photos with it")
        return None
    classes: dict[str, str] = {}
    for ours, theirs in args.classes:
        if classes.setdefault(theirs, ours) != ours:
            raise DataError(f"--as: {theirs} cannot be {classes[theirs]} and {ours}")
    return Source(args.external.expanduser(), classes, args.most)


def _show_prepared(data: PackedDataset, args: argparse.Namespace) -> None:
    from lesion.data.packed import EXTERNAL  # noqa: PLC0415
    from lesion.data.packed import PackedDataset as Packed  # noqa: PLC0415
    from search.display import console, say, table  # noqa: PLC0415

    parts = {part: data.labels[(data.table["part"] == part).to_numpy()] for part in ("train", "validation", EXTERNAL)}
    test = data.path.parents[1] / "test" / data.name
    if test.exists():
        parts["test"] = Packed.open(test).labels
    counts = {
        part: {name: int((labels == i).sum()) for i, name in enumerate(data.classes)}
        for part, labels in parts.items()
        if len(labels)
    }
    console().print(_counts_table(data.classes, counts, f"{data.name}: {data.size} pixels, {data.geometry}"))
    splits = [data.split(name) for name in data.splits]
    rows = [
        (s.name + (" (default)" if s.name == data.default_split else ""), str(len(s.train)), str(len(s.validation)))
        for s in splits
    ]
    console().print(table(("split", "train", "validation"), rows, right="train validation"))
    for each in data.manifest.get(EXTERNAL, []):
        say(*_external_lines(each))
    _show_messages("findings", [str(found["message"]) for found in data.manifest.get("findings", [])], "yellow")
    say(f"in {data.path}")
    say(f"next: write a space file with data: {data.name}, then {again(args, 'check', 'SPACE')}", style="dim")


def _external_lines(told: Mapping[str, Any]) -> list[str]:
    """What the manifest says of one source of external photos, in words."""
    classes = ", ".join(f"{theirs} as {ours}" for theirs, ours in told["classes"].items())
    left_out = ", ".join(f"{count:,} {why}" for why, count in told["left_out"].items())
    return [
        f"external: {told['photos']:,} photos of {told['source']}, trained on in every split and never validated on"
        + (f" ({classes})" if classes else ""),
        *([f"  left out of {told['source']}: {left_out}"] if left_out else []),
        "  figures of a model that learns from them are figures with external data: say so beside them",
    ]


def check(args: argparse.Namespace) -> int:
    """``data check``."""
    from lesion.data.check import check as examine  # noqa: PLC0415
    from search.display import bar, print_json  # noqa: PLC0415

    with bar() as progress:
        report = examine(args.source.expanduser(), workers=args.workers, progress=progress)
    if args.json:
        print_json(report.to_dict())
    else:
        _show_report(report)
    return 0 if report.ok else 1


def _show_report(report: Report) -> None:
    from lesion.errors import counted  # noqa: PLC0415
    from search.display import console, say  # noqa: PLC0415

    lesions = f", {counted(report.lesions, 'lesion')}" if report.lesions else ""
    title = f"{report.source}: {report.layout}, {counted(report.images, 'image')}{lesions}"
    console().print(_counts_table(report.classes, report.counts, title))
    _show_messages("mistakes", report.mistakes, "red")
    _show_messages("labels without an image", report.missing, "red")
    _show_messages("broken images", [f"{image} {why}" for image, why in report.broken], "red")
    crossing = [f"{who}: {' and '.join(parts)}" for who, parts in report.crossing.items()]
    _show_messages("in more than one part", crossing, "red")
    _show_messages("images without a label, which are left out", report.extra, "yellow")
    _show_messages("findings", [found.message for found in report.findings], "yellow")
    _show_messages("external photos of lesions of other parts, which are left out", report.leaking, "yellow")
    if report.ok:
        say("it is prepared" if report.layout == "packed" else "it can be prepared", style="green")
    else:
        say("it cannot be prepared as it is: mend what is red", style="red")


def synthesise(args: argparse.Namespace) -> int:
    """``data synthesise``."""
    from lesion.data.synthesise import synthesise as draw  # noqa: PLC0415
    from search.display import bar, say  # noqa: PLC0415

    images = tuple(args.images) if args.images else None
    with bar() as progress:
        folder = draw(
            args.folder.expanduser(), layout=args.layout, images=images, seed=args.seed, pixels=tuple(args.pixels),
            zipped=not args.unpacked, progress=progress,
        )  # fmt: skip
    say(f"drawn into {folder}")
    say(f"next: {again(argparse.Namespace(workspace=None), 'data', 'prepare', str(folder))}", style="dim")
    return 0


def download(args: argparse.Namespace) -> int:
    """``data download``."""
    from lesion.data.download import download as fetch  # noqa: PLC0415
    from search.display import bar, say  # noqa: PLC0415

    with bar(of_bytes=True) as progress:
        files = fetch(args.dataset, args.folder.expanduser(), progress=progress)
    say(f"{len(files)} files in {args.folder}, whole")
    say(f"next: {again(argparse.Namespace(workspace=None), 'data', 'prepare', str(args.folder))}", style="dim")
    return 0


def _counts_table(classes: Sequence[str], counts: Mapping[str, Mapping[str, int]], title: str) -> object:
    from search.display import table  # noqa: PLC0415

    rows = [
        (name, *(f"{part[name]:,}" for part in counts.values()), f"{sum(part[name] for part in counts.values()):,}")
        for name in classes
    ]
    sums = [sum(part.values()) for part in counts.values()]
    rows.append(("all", *(f"{n:,}" for n in sums), f"{sum(sums):,}"))
    return table(("class", *counts, "together"), rows, title, right=" ".join((*counts, "together")))


def _show_messages(what: str, messages: Sequence[str], style: str) -> None:
    from search.display import say  # noqa: PLC0415

    if not messages:
        return
    say(f"{what}: {len(messages)}", style=style)
    say(*(f"  {message}" for message in messages[:SHOWN]))
    if len(messages) > SHOWN:
        say(f"  … and {len(messages) - SHOWN} more")
