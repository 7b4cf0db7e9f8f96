"""``lesion-search check | run | status | sync``: a space becomes a study."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lesion.errors import DataError, SettingError
from search.commands.cluster import file_option
from search.commands.options import (
    again,
    command,
    json_option,
    natural,
    non_negative,
    of_space,
    positive,
    space_options,
    whole,
    workspace_option,
)
from search.commands.remote_search import run_there, status_there

if TYPE_CHECKING:
    from lesion.data.packed import PackedDataset
    from search.commands.options import Commands
    from search.space import Space
    from search.space.checking import Problem
    from search.space.vocabulary import Vocabulary
    from search.study import StudyResult

TOP = 5
"""Trials that a finished session shows."""
CODES = {"complete": 0, "hours": 0, "device_hours": 0, "flat": 0, "SIGINT": 130, "SIGTERM": 143}
"""Exit code of ``run`` by how its session ended."""


def add(commands: Commands) -> None:
    """The commands around a search."""
    _add_check(commands)
    _add_run(commands)
    _add_status(commands)
    _add_sync(commands)


def _add_check(commands: Commands) -> None:
    parser = command(
        commands, "check", check,
        "Try out every branch of a space file, without training. Every mistake is told with file and line; models "
        "are built on paper; data set and files of weights are looked for.",
        "spaces/isic2017.yaml",
        "spaces/isic2017.yaml --data clinic",
        "spaces/isic2017.yaml --set backbone=resnet18 --set budget.epochs=3",
        "spaces/my.yaml --json",
    )  # fmt: skip
    space_options(parser)
    workspace_option(parser)
    json_option(parser)


def _add_run(commands: Commands) -> None:
    parser = command(
        commands, "run", run,
        "Search a space, or go on with it. The same command continues an interrupted study and more --trials extend "
        "it; Ctrl-C stops within seconds and loses nothing.",
        "spaces/isic2017.yaml",
        "spaces/isic2017.yaml --trials 100 --hours 8 --device-hours 40",
        "spaces/isic2017.yaml --data clinic --name clinic-first --gpus-per-trial 0.5",
        "spaces/isic2017.yaml --name small --set image_size=96 --set loss=focal",
        "spaces/isic2017.yaml --cluster cluster.yaml",
    )  # fmt: skip
    space_options(parser)
    parser.add_argument("--name", help="name of the study (default: the space's)")
    parser.add_argument("--trials", type=whole, metavar="N", help="trials in all, those that have ended included")
    parser.add_argument("--epochs", type=whole, metavar="N", help="epochs of a trial; other epochs are another study")
    parser.add_argument("--hours", type=positive, metavar="H", help="wall clock of this session")
    parser.add_argument(
        "--device-hours", type=positive, metavar="H",
        help="GPU hours of the study over all sessions; hours of CPU cores where trials have no GPU",
    )  # fmt: skip
    parser.add_argument("--concurrent", type=whole, metavar="N", help="trials at a time (default: as many as fit)")
    parser.add_argument(
        "--gpus-per-trial", type=non_negative, metavar="SHARE",
        help="GPUs of a trial: several train it at once, a fraction shares one, 0 stays on CPUs (default 1, if any)",
    )  # fmt: skip
    parser.add_argument("--address", help="Ray cluster to run on (default: this machine)")
    file_option(parser, "submit to the cluster of this file, and follow; Ctrl-C then leaves the search running")
    workspace_option(parser)


def _add_status(commands: Commands) -> None:
    parser = command(
        commands, "status", status,
        "Show the studies of the workspace, or the leaderboard of one.",
        "",
        "isic2017",
        "isic2017 --top 0 --json",
    )  # fmt: skip
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of a study (default: a table of all)")
    parser.add_argument("--top", type=natural, default=20, metavar="N", help="trials to show, 0 for all (default 20)")
    file_option(parser, "look on the cluster of this file")
    workspace_option(parser)
    json_option(parser)


def _add_sync(commands: Commands) -> None:
    parser = command(
        commands, "sync", sync,
        "Bring MLflow up to the ledger. Needed only if MLflow did not answer while a study ran; repeating it changes "
        "nothing.",
        "isic2017",
        "isic2017 --workspace /data/lesions",
    )  # fmt: skip
    parser.add_argument("study", metavar="STUDY", help="name of a study")
    workspace_option(parser)


def check(args: argparse.Namespace) -> int:
    """``check``; 2 where the space has a mistake."""
    from search.display import bar, print_json  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.leaderboard import space_json, space_table  # noqa: PLC0415
    from search.preflight import (  # noqa: PLC0415
        absent_classes,
        misfit_weights,
        missing_weights,
        require_external,
        require_judge,
    )
    from search.space import check_space  # noqa: PLC0415
    from search.space.memory import memory_of_user, remembering  # noqa: PLC0415

    with memory_of_user() as memory:
        words = remembering(memory)
        space, data, warnings = _space_and_data(args, words)
        problems = []
        if data is not None:
            try:
                require_judge(space, data)
                require_external(space, data)
                warnings += absent_classes(data, data.split(space.split))
            except (DataError, SettingError) as problem:
                problems.append(str(problem))  # beside those of the branches
        with bar() as progress:
            report = check_space(
                space,
                classes=data.classes if data is not None else (),
                vocabulary=words,
                progress=lambda done, count: progress(done, count, "branches"),
            )
        problems += [f"{_where(space, problem)}: {problem}" for problem in report.problems]
        problems += misfit_weights(space, memory=memory)
    warnings += [*space.notes, *missing_weights(space)]
    if args.json:
        print_json(space_json(report, problems, warnings))
    else:
        space_table(report, problems, warnings, again(args, "run", *of_space(args)))
    return 2 if problems else 0


def _where(space: Space, problem: Problem) -> str:
    """Where the setting stands that a problem begins with, or else the file."""
    word = str(problem).partition(" ")[0]
    named = [name for name in problem.settings if word in (name, name.rpartition(".")[2])]
    return space.where(named[0]) if len(named) == 1 else str(space.path)


def _space_and_data(
    args: argparse.Namespace, words: Vocabulary | None = None
) -> tuple[Space, PackedDataset | None, list[str]]:
    """The space, its data set seen through its task where it is there, and a warning where it is not."""
    from search.preflight import find_data, task_of  # noqa: PLC0415
    from search.space import load  # noqa: PLC0415

    space = load(args.space, data=args.data, overrides=args.overrides, vocabulary=words)
    data, warning = find_data(args.workspace, space.data)
    if data is None:
        return space, None, [f"{space.where('data')}: {warning}"]
    # Once more, now that the classes are known: mistakes in the task and the objective are told with their line.
    space = load(args.space, data=args.data, overrides=args.overrides, classes=data.classes, vocabulary=words)
    task = task_of(space, data)
    return space, data if task is None else task.apply(data), []


def run(args: argparse.Namespace) -> int:
    """``run``; 0 where the session ended by itself, 1 where every trial failed, 130 after Ctrl-C."""
    if args.cluster is not None:
        return run_there(args)
    from search.display import say, searched  # noqa: PLC0415
    from search.live import followed  # noqa: PLC0415
    from search.workspace import open_workspace  # noqa: PLC0415

    if args.epochs is not None:
        args.overrides = [*args.overrides, f"budget.epochs={args.epochs}"]
    space, _, _ = _space_and_data(args)
    place = open_workspace(args.workspace)
    with followed(searched(space.semantics())) as progress:
        from search.study import run_study  # noqa: PLC0415 - Ray takes seconds: something is on the screen by now

        result = run_study(
            space, place, name=args.name, trials=args.trials, hours=args.hours, device_hours=args.device_hours,
            concurrent=args.concurrent, gpus_per_trial=args.gpus_per_trial, address=args.address, progress=progress,
            warn=lambda text: say(f"warning: {text}", style="yellow", stderr=True),
        )  # fmt: skip
    _show_result(result, args)
    hopeless = bool(result.rows) and all(row.state == "failed" for row in result.rows)
    return 1 if hopeless else CODES.get(result.ended, 1)


def _show_result(result: StudyResult, args: argparse.Namespace) -> None:
    from search.display import say  # noqa: PLC0415
    from search.leaderboard import show_leaderboard  # noqa: PLC0415

    show_leaderboard(result, TOP)
    say(result.message, style="bold")
    if result.mirror_problem:
        say(f"MLflow did not take everything: {result.mirror_problem}", style="yellow")
    say(f"look at it: {again(args, 'status', result.name)}, {again(args, 'ui')}", style="dim")
    if result.complete and result.best is not None:
        nexts = " or ".join(again(args, name, result.name) for name in ("finalists", "promote"))
        say(f"next: {nexts}", style="dim")


def status(args: argparse.Namespace) -> int:
    """``status``."""
    if args.cluster is not None:
        return status_there(args)
    from search.commands.finalists import tables_of  # noqa: PLC0415
    from search.display import counted, print_json, say  # noqa: PLC0415
    from search.leaderboard import show_leaderboard, show_studies, study_json  # noqa: PLC0415
    from search.study import studies, study_status  # noqa: PLC0415

    names = [args.study] if args.study else studies(args.workspace)
    found = [study_status(args.workspace, name) for name in names]
    if args.json:
        listed = [study_json(each) for each in found]
        if args.study:
            listed[0]["finalists"] = tables_of(args, found[0], as_json=True)
        print_json(listed[0] if args.study else listed)
    elif args.study:
        (study,) = found
        show_leaderboard(study, args.top or len(study.rows))
        tables_of(args, study, as_json=False)
        say(f"{study.name}: {counted(study.counts).plain}" + (", running now" if study.driven else ""))
    elif found:
        show_studies(found)
    else:
        say(f"no studies yet; begin one: {again(args, 'run', 'SPACE')}")
    return 0


def sync(args: argparse.Namespace) -> int:
    """``sync``."""
    from search.display import say  # noqa: PLC0415
    from search.study import sync as deliver  # noqa: PLC0415

    missing = deliver(args.workspace, args.study)
    if missing:
        say(f"MLflow holds all trials of {args.study}, and lacks some tables and figures: {missing}", style="yellow")
    else:
        say(f"MLflow holds all of {args.study}")
    return 0
