"""Searches on a cluster: ``run | status | ui --cluster``, and ``logs`` and ``stop``."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.cluster import file_option
from search.commands.options import command, of_space

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.remote.cluster_file import Cluster
    from search.remote.jobs import Jobs, SearchJob

CODES = {"SUCCEEDED": 0, "STOPPED": 130}
"""Exit code by how a job ended, where its driver has left none."""


def add(commands: Commands) -> None:
    """The commands ``logs`` and ``stop``."""
    _add_logs(commands)
    _add_stop(commands)


def _add_logs(commands: Commands) -> None:
    parser = command(
        commands, "logs", logs,
        "Show what a search on a cluster prints. Ctrl-C leaves it running.",
        "isic2017",
        "isic2017 --follow --cluster lab.yaml",
    )  # fmt: skip
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of a study (default: the last one submitted)")
    parser.add_argument("--follow", action="store_true", help="go on until the search ends")
    file_option(parser)


def _add_stop(commands: Commands) -> None:
    parser = command(
        commands, "stop", stop,
        "End a search on a cluster, as Ctrl-C ends one here. Nothing is lost: the same run command continues it.",
        "isic2017",
        "isic2017 --cluster lab.yaml",
    )  # fmt: skip
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of a study (default: the last one submitted)")
    file_option(parser)


def run_there(args: argparse.Namespace) -> int:
    """``run --cluster``: submit the search, or find it running, and follow it."""
    from search.display import say  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.errors import ClusterError  # noqa: PLC0415
    from search.preflight import SUFFIXES, named_texts, named_weights  # noqa: PLC0415
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415
    from search.remote.jobs import jobs_of  # noqa: PLC0415
    from search.remote.luggage import packed, within  # noqa: PLC0415
    from search.space import family, load  # noqa: PLC0415

    cluster = read_cluster(args.cluster)
    for name in ("workspace", "address"):
        if getattr(args, name) is not None:
            raise ClusterError(f"--{name} does not go with --cluster, whose file says where that is")
    space = load(args.space, data=args.data, overrides=args.overrides)
    study = args.name or space.name
    with jobs_of(cluster) as jobs:
        running = [job for job in jobs.listed(study) if job.running]
        if running:
            say(f"{study} is running already, with the options of its own command; this follows it")
            job = running[0].id
        else:
            args.space = within(Path.cwd(), args.space)
            weights = [file for _, file in named_weights(space) if file.endswith(SUFFIXES)]
            files = [*map(str, family(args.space)), *weights, *named_texts(space)]
            with packed(Path.cwd(), files) as luggage:
                job = jobs.submit(study, _words(args), luggage)
            say(f"submitted to {cluster.name} as {job}; Ctrl-C leaves it running")
        return _follow(jobs, job, study, cluster)


def status_there(args: argparse.Namespace) -> int:
    """``status --cluster``: the ledger is read on the head."""
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415
    from search.remote.ssh import on_head  # noqa: PLC0415

    words = ["lesion-search", "status", *([args.study] if args.study else []), "--top", str(args.top)]
    return on_head(read_cluster(args.cluster), [*words, *(["--json"] if args.json else [])])


def logs(args: argparse.Namespace) -> int:
    """``logs``."""
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415
    from search.remote.jobs import jobs_of  # noqa: PLC0415

    cluster = read_cluster(args.cluster)
    with jobs_of(cluster) as jobs:
        job = jobs.last(args.study)
        if args.follow:
            return _follow(jobs, job.id, job.study, cluster)
        sys.stdout.write(jobs.log(job.id))
    return 0


def stop(args: argparse.Namespace) -> int:
    """``stop``; 1 where the search does not end."""
    from search.display import console, say  # noqa: PLC0415
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415
    from search.remote.jobs import jobs_of  # noqa: PLC0415

    cluster = read_cluster(args.cluster)
    with jobs_of(cluster) as jobs:
        job = jobs.last(args.study)
        if not job.running:
            say(f"{job.study} has ended already ({job.status.lower()})")
            return 0
        with console(stderr=True).status(f"stopping {job.study}; what runs is kept"):
            job = jobs.stop(job.id)
    if job.running:
        say(f"{job.study} has not ended: see 'lesion-search logs {job.study}{_again(cluster)}'", stderr=True)
        return 1
    say(f"{job.study} has stopped; nothing is lost, the same run command continues")
    return 0


def ui_there(args: argparse.Namespace) -> int:
    """``ui --cluster``: a tunnel to MLflow on the head, until Ctrl-C."""
    from search.display import say  # noqa: PLC0415
    from search.remote.cluster_file import read_cluster  # noqa: PLC0415
    from search.remote.ssh import tunnel  # noqa: PLC0415

    cluster = read_cluster(args.cluster)
    with tunnel(cluster, cluster.tracking_port, args.port):
        say(f"MLflow of {cluster.name}: http://127.0.0.1:{args.port}   (Ctrl-C ends the tunnel, not the server)")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            signal.pause()
    return 0


def _words(args: argparse.Namespace) -> list[str]:
    """The command that the head runs: this one's, on the Ray that runs there."""
    words = ["lesion-search", "run", *of_space(args), "--address", "auto"]
    for option in ("name", "trials", "epochs", "hours", "device_hours", "concurrent", "gpus_per_trial"):
        value = getattr(args, option)
        if value is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    return words


def _follow(jobs: Jobs, job: str, study: str, cluster: Cluster) -> int:
    from search.display import say  # noqa: PLC0415

    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        ended = jobs.follow(job, show)
    except KeyboardInterrupt:
        say(f"left running; follow it with 'lesion-search logs {study} --follow{_again(cluster)}', end it with "
            f"'lesion-search stop {study}{_again(cluster)}'")  # fmt: skip
        return 0
    return _code(ended)


def _code(job: SearchJob) -> int:
    return job.code if job.code is not None else CODES.get(job.status, 1)


def _again(cluster: Cluster) -> str:
    return f" --cluster {cluster.path}"
