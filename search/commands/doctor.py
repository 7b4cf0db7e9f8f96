"""``lesion-search doctor``: what crashes left behind, found and mended."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from search.commands.options import again, command, json_option, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.doctor import Examination, Finding


def add(commands: Commands) -> None:
    """The command ``doctor``."""
    parser = command(
        commands, "doctor", doctor,
        "Find what crashes left behind, in ledger, checkpoints, cache and MLflow, and with --fix mend it. Says why "
        "each matters, and what fills the disk. Results of studies in the ledger are never deleted; studies that run "
        "now are passed over.",
        "",
        "isic2017",
        "isic2017 --fix",
        "--json",
    )  # fmt: skip
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of a study (default: the whole workspace)")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended")
    workspace_option(parser)
    json_option(parser)


def doctor(args: argparse.Namespace) -> int:
    """``doctor``; 0 where nothing remains to be mended, else 1."""
    from search.display import print_json  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.doctor import examine  # noqa: PLC0415

    examination = examine(args.workspace, args.study, fix=args.fix)
    if args.json:
        print_json(examination.to_json())
    else:
        _show(examination, args)
    return 0 if examination.clean else 1


def _show(examination: Examination, args: argparse.Namespace) -> None:
    from search.display import console, say, table  # noqa: PLC0415
    from search.doctor import readable  # noqa: PLC0415

    for finding in examination.findings:
        _show_finding(finding)
    for line in examination.passed_over:
        say(f"passed over: {line}", style="yellow")
    rows = [
        (each.kind, readable(each.size), readable(each.free) if each.free else "", each.how)
        for each in examination.usage
        if each.size
    ]
    console().print(table(("kind", "size", "can be freed", "meaning"), rows, "disk use", right="size can_be_freed"))
    left = sum(not finding.mended for finding in examination.findings)
    mended = len(examination.findings) - left
    if not examination.findings:
        say("nothing to mend", style="bold green")
    elif left and not args.fix and any(finding.mend for finding in examination.findings):
        study = (args.study,) if args.study else ()
        say(f"{left} to mend: {again(args, 'doctor', *study, '--fix')}", style="bold")
    else:
        say(f"{mended} mended, {left} left", style="bold")


def _show_finding(finding: Finding) -> None:
    from search.display import say  # noqa: PLC0415

    say(f"{finding.kind}: {finding.where}", style="green" if finding.mended else "bold yellow")
    say(f"  found    {finding.found}", f"  matters  {finding.matters}")
    word = "did      " if finding.mended else "remedy   "
    by_hand = "" if finding.mend else " (by hand)"
    say(f"  {word}{finding.remedy}{by_hand}")
    if finding.problem:
        say(f"  failed   {finding.problem}", style="red")
