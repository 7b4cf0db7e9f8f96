"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import math
import shlex
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]


def command(commands: Commands, name: str, run: Run, sentence: str, *examples: str) -> argparse.ArgumentParser:
    """Add the command `name`, described by a `sentence` and by `examples` of its arguments."""
    brief = sentence.partition(". ")[0].rstrip(".")
    text = textwrap.fill(sentence, 96)
    parser = commands.add_parser(name, help=brief[0].lower() + brief[1:], description=text)
    parser.epilog = "examples:\n" + "\n".join(f"  {parser.prog} {example}".rstrip() for example in examples)
    parser.set_defaults(run=run)
    return parser


def workspace_option(parser: argparse.ArgumentParser) -> None:
    """``--workspace``."""
    parser.add_argument(
        "--workspace", type=Path, metavar="FOLDER", help="folder of everything (default $LESION_WORKSPACE, ./workspace)"
    )


def begins_anew(parser: argparse.ArgumentParser) -> None:
    """What Ctrl-C says of a command that keeps nothing of what it has begun."""
    parser.set_defaults(interrupted="interrupted; the same command begins anew")


def space_options(parser: argparse.ArgumentParser) -> None:
    """The space file, and what overrules it."""
    parser.add_argument("space", type=Path, metavar="SPACE", help="space file")
    parser.add_argument("--data", help="another data set than the file's: its name in the workspace, or a path")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="overrule a setting, a choice or a component of the file; may be repeated",
    )  # fmt: skip


def json_option(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def whole(text: str) -> int:
    """A whole number from 1."""
    return _at_least(1, int(text))


def natural(text: str) -> int:
    """A whole number from 0."""
    return _at_least(0, int(text))


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def non_negative(text: str) -> float:
    """A number from 0."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value


def again(args: argparse.Namespace, *words: str) -> str:
    """A command line of ours to go on with, in the workspace of this one."""
    place = ["--workspace", str(args.workspace)] if args.workspace is not None else []
    return shlex.join(["lesion-search", *words, *place])


def of_space(args: argparse.Namespace) -> list[str]:
    """The arguments of `space_options`, to be given again."""
    data = ["--data", args.data] if args.data is not None else []
    return [str(args.space), *data, *(word for text in args.overrides for word in ("--set", text))]


def _at_least(low: int, value: int) -> int:
    if value < low:
        raise argparse.ArgumentTypeError(f"{value} is less than {low}")
    return value
