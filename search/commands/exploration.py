"""``lesion-search data explore | augmentations``: a data set to look at, before anything learns from it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.commands.options import command, json_option, natural, positive, whole, workspace_option

if TYPE_CHECKING:
    from lesion.data.packed import PackedDataset
    from search.commands.options import Commands

SIZES = 5
"""Sizes of photos that are listed; the JSON has all of them."""


def add_explore(commands: Commands) -> None:
    """``data explore``."""
    parser = command(
        commands, "explore", explore,
        "Look at a prepared data set: class counts, samples, ages, sexes and sites, lesions, photos that stand twice, "
        "sharpness and colours of the training and validation parts, as a page (exploration.html), pictures and "
        "exploration.json. With its source, also the sizes of the photos, their sharpness at that size, and files "
        "against labels. The test part is not opened.",
        "isic2017",
        "isic2017 --source ../shared/data/isic2017",
        "workspace/data/clinic --blurred 40 --json",
    )  # fmt: skip
    parser.add_argument("data", metavar="DATA", help="a prepared data set: its name, or its folder")
    parser.add_argument("--source", type=Path, metavar="SOURCE", help="what it was prepared from")
    parser.add_argument(
        "--blurred", type=positive, default=70.0, metavar="VARIANCE",
        help="images whose Laplacian varies less are called blurred (default 70)",
    )  # fmt: skip
    parser.add_argument("--images", type=whole, default=8, metavar="N", help="samples of each class (default 8)")
    parser.add_argument("--seed", type=natural, default=0, help="which samples are drawn (default 0)")
    _out_option(parser, "exploration")
    workspace_option(parser)
    json_option(parser)


def add_augmentations(commands: Commands) -> None:
    """``data augmentations``."""
    parser = command(
        commands, "augmentations", augmentations,
        "Draw what augmentation does to real images. For each policy a picture with some images of every class, as "
        "they are and as the first epochs would show them; and one of the four copies that balancing can add.",
        "isic2017",
        "isic2018 --policy challenge --policy copies --size 224",
        "isic2017 --out pictures --images 1",
    )  # fmt: skip
    parser.add_argument("data", metavar="DATA", help="a prepared data set: its name, or its folder")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME", help="only this one (repeatable)")
    parser.add_argument("--size", type=whole, default=128, metavar="PIXELS", help="pixels a side (default 128)")
    parser.add_argument("--images", type=whole, default=2, metavar="N", help="images of each class (default 2)")
    parser.add_argument("--draws", type=whole, default=8, metavar="N", help="draws of each image (default 8)")
    parser.add_argument("--seed", type=natural, default=0, help="which images and draws (default 0)")
    _out_option(parser, "augmentations")
    workspace_option(parser)


def explore(args: argparse.Namespace) -> int:
    """``data explore``."""
    from lesion.exploration import explore as look  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.display import bar, print_json  # noqa: PLC0415

    data, folder = _data_and_folder(args, "exploration")
    source = None if args.source is None else args.source.expanduser()
    with bar() as progress:
        report = look(
            data, folder, source=source, blurred_below=args.blurred, per_class=args.images, seed=args.seed,
            progress=progress,
        )  # fmt: skip
    if args.json:
        print_json(report)
    else:
        _show(report, folder)
    return 0


def augmentations(args: argparse.Namespace) -> int:
    """``data augmentations``."""
    from lesion.contact_sheets import draw_policies  # noqa: PLC0415
    from search.display import say  # noqa: PLC0415

    data, folder = _data_and_folder(args, "augmentations")
    drawn = draw_policies(
        data, folder, args.policy, size=args.size, per_class=args.images, draws=args.draws, seed=args.seed
    )
    say(*(str(path) for path in drawn))
    return 0


def _out_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"where the files go (default: reports/DATA/{what} in the workspace)"
    )


def _data_and_folder(args: argparse.Namespace, what: str) -> tuple[PackedDataset, Path]:
    from lesion.data.packed import open_data  # noqa: PLC0415
    from search.workspace import existing_workspace  # noqa: PLC0415

    workspace = existing_workspace(args.workspace)
    data = open_data(workspace.path, args.data)
    return data, workspace.reports / data.name / what if args.out is None else args.out.expanduser()


def _show(report: Mapping[str, Any], folder: Path) -> None:
    from lesion.exploration.measures import by_side  # noqa: PLC0415
    from search.display import console, say, table  # noqa: PLC0415

    counts = report["counts"]
    sides = by_side(counts)
    if report["test_classes"] is not None:
        sides["test"] = report["test_classes"]
    rows = [(name, *(f"{side[name]:,}" for side in sides.values())) for name in report["classes"]]
    rows.append(("all", *(f"{sum(side.values()):,}" for side in sides.values())))
    title = f"{report['data']}: {report['images']:,} images, split {counts['split']}"
    console().print(table(("class", *sides), rows, title, right="train validation external test"))
    if report["test_images"] and report["test_classes"] is None:
        say(f"test part: {report['test_images']:,} images; their classes were not recorded", style="dim")
    for blur in report["blur"].values():
        parts = ", ".join(f"{part} {each['images']:,} of {each['of']:,}" for part, each in blur["parts"].items())
        say(f"blurred, below {blur['below']:g}: {parts} ({blur['measured_at']})")
    twice = report["duplicates"]
    for kind, what in (("identical", "of the same bytes"), ("alike", "that look alike")):
        say(f"pairs {what}: {len(twice[kind]):,}, across parts {twice['across'][kind]:,}")
    lesions = report["groups"]["lesion"]
    say(
        f"lesions: {lesions['groups']:,} of {lesions['images']:,} images" if lesions["groups"] else "lesions: not named"
    )
    known = ", ".join(f"{what} {found['known']:,}" for what, found in report["people"].items())
    say(f"known of {report['images']:,} images: {known}")
    files = report["files"]
    say(f"labels without an image: {len(files['labels_without_image'])}, "
        f"images without a label: {len(files['images_without_label'])} ({files['seen']})")  # fmt: skip
    for kind, messages in files["findings"].items():
        say(f"{kind}: {len(messages)}", style="yellow")
    sizes = report["sizes"]
    if sizes is None:
        say("sizes of the photos: not kept in a packed data set; give its --source", style="dim")
    else:
        common = ", ".join(f"{s['width']} × {s['height']} ({s['images']:,})" for s in sizes[:SIZES])
        say(f"sizes of the photos: {common}" + (f" and {len(sizes) - SIZES} others" if len(sizes) > SIZES else ""))
    say(f"in {folder}: {report['page']}")
