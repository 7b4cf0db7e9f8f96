"""Searches as Ray jobs: submitted through a tunnel to the head, followed, stopped; they live on without us.

The driver of a search runs on the head. Ray would end it with SIGTERM and three seconds of patience; ours is asked with
SIGINT and has two minutes, which is what it takes to leave every trial resumable.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from search.errors import ClusterAccessError, ClusterError
from search.remote.cluster_file import DASHBOARD_PORT, Cluster
from search.remote.luggage import FOLDER, Luggage
from search.remote.ssh import tunnel

STUDY = "lesion.study"
"""Metadata of a job: the study that it drives."""
DRIVER = {
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": "120",
    "PYTHONUNBUFFERED": "1",
    # MLflow's links lead to the head's loopback.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
}
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
PATIENCE = 150.0
"""Seconds that a stopped search has to end; Ray kills it after 120."""


@dataclass(frozen=True)
class SearchJob:
    """One job; `status` is Ray's word, `started` in seconds since 1970, `code` its exit code once it has ended."""

    id: str
    study: str
    status: str
    started: float
    code: int | None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status not in ENDED


class Jobs:
    """The jobs of a cluster; made by `jobs_of`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, study: str, words: Sequence[str], luggage: Luggage) -> str:
        """Begin the command `words` on the head, in a copy of `luggage` that every worker gets as well; its id."""
        job = f"{study}-{time.strftime('%Y%m%d-%H%M%S')}"
        line, inside = shlex.join(words), str(luggage.inside)
        variables = dict(DRIVER)
        if inside != ".":
            # Code that travels comes before what is installed: Ray sees to that for the top of the copy alone.
            line = f'cd {shlex.quote(inside)} && PYTHONPATH="$PWD:$PYTHONPATH" exec {line}'
            variables |= {FOLDER: inside, "PYTHONPATH": inside}
        self._client.submit_job(
            entrypoint=line,
            submission_id=job,
            runtime_env={"working_dir": str(luggage.folder), "env_vars": variables},
            metadata={STUDY: study},
        )
        return job

    def listed(self, study: str | None = None) -> list[SearchJob]:
        """The jobs that drive searches, the last one first; of one study where it is given."""
        found = []
        for each in self._client.list_jobs():
            name = (each.metadata or {}).get(STUDY)
            if each.submission_id is None or name is None or study not in (None, name):
                continue
            code = each.driver_exit_code
            found.append(
                SearchJob(each.submission_id, name, str(each.status.value), (each.start_time or 0) / 1000, code)
            )
        return sorted(found, key=lambda job: job.started, reverse=True)

    def last(self, study: str | None = None) -> SearchJob:
        """The last job, of one study where it is given; ClusterError where there is none."""
        found = self.listed(study)
        if not found:
            known = ", ".join(sorted({job.study for job in self.listed()})) or "none"
            which = f"no search of {study!r}" if study else "no search"
            raise ClusterError(f"{which} has been submitted since the cluster came up; known: {known}")
        return found[0]

    def log(self, job: str) -> str:
        """All that a job has printed."""
        return str(self._client.get_job_logs(job))

    def follow(self, job: str, show: Callable[[str], object]) -> SearchJob:
        """Show what a job prints, from its beginning, until it ends."""

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job):
                show(text)

        asyncio.run(tail())
        return self._ended(job, 30.0)

    def stop(self, job: str) -> SearchJob:
        """Ask a job to end, and wait until it has."""
        self._client.stop_job(job)
        return self._ended(job, PATIENCE)

    def _ended(self, job: str, seconds: float) -> SearchJob:
        deadline = time.monotonic() + seconds
        while True:
            (found,) = (each for each in self.listed() if each.id == job)
            if not found.running or time.monotonic() > deadline:
                return found
            time.sleep(0.5)


@contextmanager
def jobs_of(cluster: Cluster) -> Iterator[Jobs]:
    """The jobs of `cluster`, through a tunnel that stands for as long as the context.

    Raises ClusterAccessError where the head does not answer, Ray does not run there, or the token is not the cluster's.
    """
    # Before Ray is imported, which reads it once.
    os.environ["RAY_AUTH_MODE"] = cluster.settings["RAY_AUTH_MODE"]
    from ray.exceptions import AuthenticationError  # noqa: PLC0415
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    logging.getLogger("ray").setLevel(logging.WARNING)
    with tunnel(cluster, DASHBOARD_PORT) as port:
        try:
            yield Jobs(JobSubmissionClient(f"http://127.0.0.1:{port}"))
        except AuthenticationError as error:
            raise ClusterAccessError(
                f"{cluster.path}: the cluster refuses this machine's token ({_line(error)}): copy ~/.ray/auth_token of "
                "the machine that ran 'ray up'"
            ) from error
        except (ConnectionError, RuntimeError, OSError) as error:
            raise ClusterAccessError(
                f"{cluster.path}: Ray on {cluster.head} does not answer ({_line(error)}); is the cluster up "
                f"('ray up -y {cluster.path}')? A search that runs goes on"
            ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
