"""The runs of one study in MLflow: found by their tags, written so that writing twice changes nothing.

One parent run a study, one child run a trial. Only MlflowClient is used: the fluent interface keeps an active run a
process, into which a second study would write.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.spool import Event
from search.tracking_client import client_of

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

STUDY, ID, HASH, TRIAL, STATE, EPOCH = (
    f"lesion.{name}" for name in ("study", "study_id", "study_hash", "trial", "state", "epoch")
)
NAME = "mlflow.runName"
PARENT = -1
"""Number that stands for the study itself among the trials."""
STATUS = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "running": "RUNNING",
}
"""MLflow's status of a run by the trial's state; the tag ``lesion.state`` tells pruned from interrupted."""
_BATCH, _PARAMS, _TAGS = 1000, 100, 100
_PARAM_LENGTH, _TAG_LENGTH, _NAME_LENGTH = 6000, 5000, 250


@dataclass
class Change:
    """What is to be written to one run, put together from events."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    epochs: dict[int, tuple[int, Mapping[str, float]]] = field(default_factory=dict)
    state: str | None = None
    time: int = 0

    def add(self, event: Event) -> None:
        """Take in one event; a later one overrules an earlier one."""
        self.params |= {param_name(key): str(value)[:_PARAM_LENGTH] for key, value in event.get("params", {}).items()}
        self.tags |= {key: str(value)[:_TAG_LENGTH] for key, value in event.get("tags", {}).items()}
        self.state = event.get("state", self.state)
        self.time = event["time"]
        if "metrics" in event:
            # The first report of an epoch counts: what is rebuilt from the ledger later knows less.
            self.epochs.setdefault(event["epoch"], (event["time"], event["metrics"]))

    def parts(self) -> list[Change]:
        """The same in pieces that MLflow may refuse one by one: settings, each epoch, tags, and the state alone."""
        return [
            *(Change(params={name: value}, time=self.time) for name, value in self.params.items()),
            *(Change(epochs={epoch: told}, time=self.time) for epoch, told in self.epochs.items()),
            *([Change(tags=self.tags, time=self.time)] if self.tags else []),
            *([Change(state=self.state, time=self.time)] if self.state else []),
        ]


@dataclass
class Run:
    """A run as far as it is known: `epochs` that it holds are None until they are looked up."""

    id: str
    tags: Mapping[str, str]
    status: str
    epochs: set[int] | None = None


class StudyRuns:
    """The runs of one study in the tracking server at `uri`, known by the study's id.

    The same study in another workspace, or in a ledger begun anew, has runs of its own in the same experiment. A study
    from before ids has its hash for one, and runs that carry no id. The experiment has the study's name unless another
    one is given.
    """

    def __init__(
        self,
        uri: str,
        artifacts: Path,
        study: str,
        study_id: str,
        study_hash: str,
        objective: str,
        experiment: str | None = None,
    ) -> None:
        self.uri, self.artifacts = uri, artifacts
        self.study, self.study_id, self.study_hash, self.objective = study, study_id, study_hash, objective
        self.experiment_name = experiment or study
        self._client: MlflowClient | None = None
        self._experiment: str | None = None
        self._runs: dict[int, Run] | None = None
        self._doubled: dict[str, int] = {}

    @property
    def client(self) -> MlflowClient:
        """MLflow's client; made on first use, because importing it takes seconds."""
        if self._client is None:
            # The mirror has its own patience, and a disk to be patient on.
            # MLflow's own tries would make a run twice whose first answer was late.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
            self._client = client_of(self.uri)
        return self._client

    def runs(self) -> dict[int, Run]:
        """The runs by trial number, `PARENT` for the study's own; of several, the one that knows most."""
        if self._runs is None:
            found: dict[int, list[Any]] = {}
            for run in self._search():
                if run.data.tags.get(ID, self.study_hash) == self.study_id:
                    found.setdefault(int(run.data.tags.get(TRIAL, PARENT)), []).append(run)
            chosen = {number: max(runs, key=_knowledge) for number, runs in found.items()}
            self._doubled = {
                run.info.run_id: number for number, runs in found.items() for run in runs if run is not chosen[number]
            }
            self._runs = {
                number: Run(run.info.run_id, run.data.tags, run.info.status) for number, run in chosen.items()
            }
        return self._runs

    def doubled(self) -> dict[str, int]:
        """Trials by the ids of runs that are one too many.

        There are some where a server made a run and its answer came too late, or not at all.
        """
        self.runs()
        return dict(self._doubled)

    def remove_doubled(self) -> None:
        """Delete the runs that are one too many; MLflow keeps them in its bin."""
        for run_id in self.doubled():
            self.client.delete_run(run_id)
        self._doubled = {}

    def known(self, number: int) -> str | None:
        """Id of the run of trial `number` if it has been seen, without asking the server."""
        run = (self._runs or {}).get(number)
        return run.id if run else None

    def forget(self) -> None:
        """After a failed call: nobody knows what the server did, so everything is looked up again."""
        self._runs = self._experiment = self._client = None

    def write(self, number: int, change: Change) -> None:
        """Bring the run of trial `number` up to `change`; raises whatever MLflow raises."""
        run = self.runs().get(number) or self._create(number, change)
        epochs = self._missing(run, change)
        self._log(run.id, change, epochs)
        status = STATUS.get(change.state or "", run.status)
        if status != run.status:
            self._set_status(run.id, status, change.time)
        run.status = status
        if change.epochs:  # else nobody has looked yet what it holds, and an empty set would say: nothing
            run.epochs = (run.epochs or set()) | set(change.epochs)

    def _missing(self, run: Run, change: Change) -> dict[int, tuple[int, Mapping[str, float]]]:
        if not change.epochs:
            return {}
        if run.epochs is None:
            history = self.client.get_metric_history(run.id, metric_name(self.objective))
            run.epochs = {metric.step for metric in history}
        return {epoch: told for epoch, told in change.epochs.items() if epoch not in run.epochs}

    def _log(self, run_id: str, change: Change, epochs: Mapping[int, tuple[int, Mapping[str, float]]]) -> None:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

        metrics = [
            [
                Metric(metric_name(name), value, time, epoch)
                for name, value in sorted(told.items(), key=self._objective_last)
            ]
            for epoch, (time, told) in epochs.items()
        ]
        params = [Param(key, value) for key, value in change.params.items()]
        tags = [RunTag(key, value) for key, value in change.tags.items()]
        for some_params in _chunks(params, _PARAMS):
            self.client.log_batch(run_id, params=some_params)
        for some_metrics in _batches(metrics, _BATCH):
            self.client.log_batch(run_id, metrics=some_metrics)
        # Tags last: they say how far the run has come.
        for some_tags in _chunks(tags, _TAGS):
            self.client.log_batch(run_id, tags=some_tags)

    def _objective_last(self, metric: tuple[str, float]) -> tuple[bool, str]:
        """Order of an epoch's metrics: the objective, by which `_missing` knows the epoch, arrives with the last."""
        return metric[0] == self.objective, metric[0]

    def _create(self, number: int, change: Change) -> Run:
        own = {} if self.study_id == self.study_hash else {ID: self.study_id}
        tags = {STUDY: self.study, HASH: self.study_hash, **own, **change.tags}
        name = self.study
        if number != PARENT:
            name = change.tags.get(NAME, f"{self.study} {number}")
            parent = self.runs().get(PARENT) or self._create(PARENT, Change(time=change.time))
            tags |= {TRIAL: str(number), "mlflow.parentRunId": parent.id}
        made = self.client.create_run(self.experiment, start_time=change.time, tags=tags, run_name=name)
        run = Run(made.info.run_id, tags, made.info.status, set())
        self.runs()[number] = run
        return run

    def _set_status(self, run_id: str, status: str, time: int) -> None:
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status=status, end_time=time)

    @property
    def experiment(self) -> str:
        """Id of the study's experiment, made if there is none."""
        if self._experiment is None:
            self._experiment = experiment_of(self.client, self.experiment_name, self.uri, self.artifacts)
        return self._experiment

    def _search(self) -> Iterable[Any]:
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment], f"tags.`{HASH}` = '{self.study_hash}'", max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


def param_name(path: str) -> str:
    """A setting's path as MLflow takes it: letters, digits and ``_ - . / :`` only, so a chain's joints become dashes.

    >>> param_name("balancing.copies+cap.cap.count")
    'balancing.copies-cap.cap.count'
    """
    return re.sub(r"[^\w./: -]", "-", path)


def metric_name(name: str) -> str:
    """A metric's name as MLflow takes it.

    Classes may be called anything, and metrics are called after them. What MLflow refuses becomes a dash, and a digest
    of the whole name ends it, so that ``BCC (nodular)`` and ``BCC [nodular]`` have a curve each.

    >>> metric_name("auc_melanoma"), metric_name("auc_BCC (nodular)")
    ('auc_melanoma', 'auc_BCC -nodular- e1e515')
    """
    fitting = re.sub(r"[^\w./: -]", "-", name)
    if posixpath.normpath(fitting) != fitting or fitting.startswith(("/", ".")):  # MLflow may make a path of it
        fitting = re.sub(r"[./]", "-", fitting)
    if fitting == name and len(name) <= _NAME_LENGTH:
        return name
    return f"{fitting[: _NAME_LENGTH - 7]} {hashlib.sha256(name.encode()).hexdigest()[:6]}"


def experiment_of(client: MlflowClient, study: str, uri: str, artifacts: Path) -> str:
    """Id of the experiment of a study's name at `uri`, made if there is none."""
    found = client.get_experiment_by_name(study)
    if found is None:
        # A server decides for itself where files go; for a database in the workspace, we do.
        place = (artifacts / study).as_uri() if uri.startswith("sqlite") else None
        return str(client.create_experiment(study, artifact_location=place))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _chunks(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _batches(groups: Iterable[list[Any]], size: int) -> Iterable[list[Any]]:
    """Whole groups together up to `size`; a larger group is cut."""
    batch: list[Any] = []
    for group in groups:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = batch + group
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch


def _knowledge(run: Any) -> tuple[int, int, int, str]:
    """How much a run holds; of equals, the older one holds more."""
    return int(run.data.tags.get(EPOCH, 0)), len(run.data.metrics), -run.info.start_time, run.info.run_id
