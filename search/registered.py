"""Models in MLflow's registry: logged with their evidence, found again by what they were made of.

Only `MlflowClient` and explicit run ids are used, but for `log_model`, which knows the active run alone.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion.evaluation import Evaluation
from search.errors import PromotionBlockedError, PromotionError
from search.logged_model import logged
from search.test_parts import part_of_tags, same
from search.tracking import experiment_of, metric_name
from search.tracking_client import client_of

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from search.study import StudyStatus

CHAMPION, PREVIOUS = "champion", "previous"
BATCH = 1000
"""Metrics that MLflow takes at once."""
LONGEST_TAG, LONGEST_DESCRIPTION = 5000, 5000
"""Characters that MLflow's databases hold."""
CUT = "\n\n[cut here: MLflow holds no more]"
KEY, STUDY, ID, SOURCE, IMAGES = (
    f"lesion.{name}" for name in ("key", "promoted_study", "promoted_study_id", "promoted_hash", "test_images")
)
TAGS = (KEY, STUDY, ID, SOURCE, IMAGES)
"""What a promotion's run and version are known by."""
TESTED = "lesion.tested"
"""Tag of a promotion's run: which model was scored, on the test part that `search.test_parts` tags."""
EVIDENCE = "evidence"
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
"""MLflow's error codes for a model, version or alias that is not there."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry: its run, and the test scores as [value, low, high] by name."""

    version: int
    run_id: str
    metrics: dict[str, list[float | None]]
    test_images: int


class Registry:
    """MLflow's model registry at `uri`; files of new experiments go under `artifacts` when it is a local database."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri, self.artifacts = uri, artifacts
        self.client: MlflowClient = client_of(uri)

    def find(self, name: str, key: str) -> Registered | None:
        """The version made of the same trials, if there is one.

        A promotion that was killed may have left it without tags; its run has them from the beginning.
        """
        with self._asked():
            for found in self.client.search_model_versions(f"name = '{name}'"):
                run_id = str(found.run_id)
                tags = found.tags if KEY in found.tags else self.tags_of(run_id)
                if tags.get(KEY) == key:
                    metrics = self._artifact(run_id, f"{EVIDENCE}/metrics.json")
                    return Registered(int(found.version), run_id, metrics, int(tags[IMAGES]))
        return None

    def settle(self, name: str, found: Registered) -> None:
        """Finish what a promotion that was killed has left undone of a version: its tags, and the end of its run."""
        tags = self.tags_of(found.run_id)
        self.tag(name, found.version, {tag: tags[tag] for tag in TAGS if tag in tags})
        if KEY in tags and STUDY in tags:
            self.end_left(tags[STUDY], {KEY: tags[KEY]})

    def left_running(self, study: str, tags: Mapping[str, str]) -> list[str]:
        """Ids of the runs of promotions with these tags that nobody ended; of a promotion at work too."""
        found = self.client.get_experiment_by_name(study)
        if found is None:
            return []
        asked = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        runs = self.client.search_runs([found.experiment_id], f"{asked} and attributes.status = 'RUNNING'")
        return [str(run.info.run_id) for run in runs]

    def scored(self, part: str) -> dict[str, set[str]]:
        """The models that a test part (`search.test_parts`) has scored, by study, as the runs of promotions tell.

        Runs that failed, or were deleted since, are among them: the part was opened all the same.
        """
        from mlflow.entities import ViewType  # noqa: PLC0415

        found: dict[str, set[str]] = {}
        with self._asked():
            every = [each.experiment_id for each in self.client.search_experiments(view_type=ViewType.ALL)]
            for run in self._runs(every, f"tags.`{TESTED}` != ''", ViewType.ALL):
                tags = run.data.tags
                if STUDY in tags and same(part_of_tags(tags), part):
                    found.setdefault(tags[STUDY], set()).add(tags[TESTED])
        return found

    def _runs(self, experiments: list[str], asked: str, view: int) -> Iterator[Any]:
        """All runs, page by page."""
        token: str | None = None
        while True:
            page = self.client.search_runs(experiments, asked, view, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def end_left(self, study: str, tags: Mapping[str, str]) -> None:
        """End the runs of promotions that were killed: FINISHED where there is a version of it, else FAILED."""
        with self._asked():
            for run_id in self.left_running(study, tags):
                made = self.client.search_model_versions(f"run_id = '{run_id}'")
                self.client.set_terminated(run_id, "FINISHED" if made else "FAILED")

    def register(
        self,
        name: str,
        key: str,
        status: StudyStatus,
        folder: Path,
        evidence: Path,
        test: Evaluation,
        validation: Evaluation,
        opened: Mapping[str, str],
    ) -> Registered:
        """Log the model folder, its scores and evidence as a run of the study's experiment, and register it.

        `opened` are the run's tags by which the opening of the test part is counted (`search.openings`).

        The caller is alone with the model (`search.versions.alone`): runs of this very promotion that are RUNNING were
        left by one that was killed, and are ended.
        """
        self.end_left(status.name, {KEY: key})
        metrics = {
            score: [_finite(i.value), _finite(i.low), _finite(i.high)] for score, i in sorted(test.intervals.items())
        }
        (evidence / "metrics.json").write_text(json.dumps(metrics, indent=2))
        source = {STUDY: status.name, ID: status.identity.key, SOURCE: status.identity.hash}
        tags = {KEY: key, **source, IMAGES: str(len(test.images))}
        with self._asked(), self._run(status.name, {**tags, **opened}) as run_id:
            self._log_scores(run_id, "test", test)
            self._log_scores(run_id, "validation", validation)
            self.client.log_artifacts(run_id, str(evidence), EVIDENCE)
            number = self._log_model(run_id, name, folder)
        self.tag(name, number, tags)
        return Registered(number, run_id, metrics, len(test.images))

    def model(self, name: str) -> Any:
        """MLflow's record of a registered model; PromotionError for one that is not there."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        with self._asked():
            try:
                return self.client.get_registered_model(name)
            except MlflowException as problem:
                if problem.error_code not in UNKNOWN:
                    raise
                raise PromotionError(f"no model {name!r} in {self.uri}; known: {self._known()}") from problem

    def versions(self, name: str) -> list[Any]:
        """MLflow's records of all versions of a registered model."""
        with self._asked():
            return list(self.client.search_model_versions(f"name = '{name}'"))

    def alias(self, name: str, alias: str, number: int) -> None:
        """Let `alias` mean version `number`."""
        with self._asked():
            self.client.set_registered_model_alias(name, alias, str(number))

    def tag(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """Write tags of a version, each cut to what MLflow takes."""
        with self._asked():
            for tag, value in tags.items():
                self.client.set_model_version_tag(name, str(number), tag, value[:LONGEST_TAG])

    def tag_model(self, name: str, tag: str, value: str) -> None:
        """Write a tag of a registered model."""
        with self._asked():
            self.client.set_registered_model_tag(name, tag, value)

    def describe(self, name: str, number: int, text: str) -> None:
        """Write the description of a version; one that MLflow does not take whole says where it is cut."""
        if len(text) > LONGEST_DESCRIPTION:
            text = text[: LONGEST_DESCRIPTION - len(CUT)] + CUT
        with self._asked():
            self.client.update_model_version(name, str(number), text)

    def introduce(self, name: str, text: str) -> None:
        """Write the description of a registered model that has none; what somebody wrote of it stays."""
        if not self.model(name).description:
            with self._asked():
                self.client.update_registered_model(name, text)

    def evidence(self, run_id: str, path: str) -> Path:
        """A file of the evidence that was logged with a version, here; PromotionError where it is lost."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        with self._asked():
            try:
                return Path(self.client.download_artifacts(run_id, f"{EVIDENCE}/{path}"))
            except MlflowException as problem:
                if problem.error_code not in UNKNOWN:
                    raise
                raise PromotionError(f"the evidence {path} of run {run_id} is lost: {problem}") from problem

    def log_evidence(self, run_id: str, file: Path) -> None:
        """Add a file to the evidence of a version."""
        with self._asked():
            self.client.log_artifact(run_id, str(file), EVIDENCE)

    def download(self, uri: str) -> Path:
        """The predictor's folder inside the model at `uri`; PromotionError when there is no such model."""
        import mlflow.artifacts  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            with self._as_default():
                root = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=self.uri))
        except MlflowException as problem:
            if problem.error_code not in UNKNOWN:
                raise PromotionBlockedError(f"MLflow at {self.uri} does not give {uri}: {problem}") from problem
            raise PromotionError(f"no model {uri} in {self.uri}: {problem}; known: {self._known()}") from problem
        found = sorted(root.glob("artifacts/*/config.json"))
        if not found:
            raise PromotionError(f"{uri} is not a model of lesion-search: it holds no artifacts/model/config.json")
        return found[0].parent

    @contextmanager
    def _run(self, study: str, tags: dict[str, str]) -> Iterator[str]:
        """A new run of the study's experiment, ended as what is done inside ends."""
        identifier = experiment_of(self.client, study, self.uri, self.artifacts)
        run_id = str(self.client.create_run(identifier, tags=tags, run_name=f"{study} promotion").info.run_id)
        try:
            yield run_id
        except BaseException:
            self.client.set_terminated(run_id, "FAILED")
            raise
        self.client.set_terminated(run_id, "FINISHED")

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Turn what MLflow says when it does not do as asked into an error that says how to go on."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            yield
        except MlflowException as problem:
            what = str(problem).strip().partition("\n")[0][:300]
            raise PromotionBlockedError(
                f"MLflow at {self.uri} did not do it: {what}. Run the command again once it answers, nothing is lost"
            ) from problem

    def _log_scores(self, run_id: str, part: str, evaluation: Evaluation) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(time.time() * 1000)
        ends = [
            (f"{part}_{score}{end}", value)
            for score, interval in evaluation.intervals.items()
            for end, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high))
        ]
        metrics = [Metric(metric_name(name), value, now, 0) for name, value in ends if math.isfinite(value)]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics[start : start + BATCH])

    def _log_model(self, run_id: str, name: str, folder: Path) -> int:
        import mlflow.pyfunc  # noqa: PLC0415

        with self._as_default(), mlflow.start_run(run_id=run_id):
            info = mlflow.pyfunc.log_model(name="model", registered_model_name=name, **logged(folder))
        return int(info.registered_model_version)

    def tags_of(self, run_id: str) -> Mapping[str, str]:
        """Tags of a run; none where it is gone, or the version is of no run."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        with self._asked():
            try:
                return dict(self.client.get_run(run_id).data.tags)
            except MlflowException as problem:
                if problem.error_code not in UNKNOWN:
                    raise
                return {}

    def _artifact(self, run_id: str, path: str) -> Any:
        return json.loads(Path(self.client.download_artifacts(run_id, path)).read_text())

    def _known(self) -> str:
        return ", ".join(f"models:/{m.name}" for m in self.client.search_registered_models()) or "none yet"

    @contextmanager
    def _as_default(self) -> Iterator[None]:
        """MLflow's functions, unlike its client, take the server from a global."""
        import mlflow  # noqa: PLC0415

        # The registry's URI follows the tracking URI as long as nobody sets it; once set, it overrules even
        # what a client was made with (seen with 3.17).
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
        mlflow.set_tracking_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
