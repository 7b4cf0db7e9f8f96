"""The command ``lesion-search``: arguments in, exit code out; what it does are calls into `lesion` and `search`.

Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted. What is wrong with the input is said on stderr, a line a
mistake, without a traceback (LESION_DEBUG=1 shows it). Nothing heavy is imported before a command runs, so that
``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lesion.errors import Failure, LesionError
from search.commands import (
    cluster,
    data,
    doctor,
    finalists,
    models,
    predict,
    remote_search,
    report,
    search,
    serving,
    simulation,
    ui,
)
from search.errors import LackingError, SearchError
from search.lacking import lacking

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Search for the hyper-parameters of skin-lesion classifiers, look at what was found, promote and use the best model."""
EPILOG = """\
from images to a promoted model:
  lesion-search data prepare ../shared/data/isic2017
  lesion-search check spaces/isic2017.yaml
  lesion-search run spaces/isic2017.yaml
  lesion-search status isic2017
  lesion-search finalists isic2017 --top 5 --seeds 3
  lesion-search promote isic2017
  lesion-search predict models:/isic2017@champion photo.jpg

Everything lives in one workspace folder: --workspace, else $LESION_WORKSPACE, else ./workspace.
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions and examples; 100 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class Parser(argparse.ArgumentParser):
    """Says mistakes in one line, and where to read more; knows no abbreviations, which later options would break."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(WRONG_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - half as long as all else that --help imports

        print(f"lesion-search {version('lesion-search')}")
        parser.exit()


def build_parser() -> Parser:
    """The parser of all commands; `run` of what it parses is the function that carries a command out."""
    parser = Parser(prog="lesion-search", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for group in (
        data,
        search,
        finalists,
        doctor,
        report,
        simulation,
        ui,
        models,
        predict,
        serving,
        remote_search,
        cluster,
    ):
        group.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; mistakes in the arguments themselves raise SystemExit(2)."""
    args = build_parser().parse_args(arguments)
    if os.environ.get("LESION_DEBUG") == "1":
        return int(args.run(args))
    try:
        return _carried_out(args)
    except (LesionError, SearchError) as error:
        print(error, file=sys.stderr)
        return FAILED if isinstance(error, Failure) else WRONG_INPUT
    except KeyboardInterrupt:
        print(getattr(args, "interrupted", "interrupted; the same command continues"), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, a pager or `head`, has seen enough; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        print(f"{error.filename or 'lesion-search'}: {error.strerror or error}", file=sys.stderr)
        return FAILED


def _carried_out(args: argparse.Namespace) -> int:
    """What the command returns; LackingError where a package that is left out of small installations is not there."""
    try:
        return int(args.run(args))
    except ModuleNotFoundError as error:
        if (told := lacking(error, args.command)) is None:
            raise
        raise LackingError(told) from error


if __name__ == "__main__":
    sys.exit(main())
