"""What a worker runs: the only file where one trial's science meets Ray.

`TrialRun` is one attempt at one trial and knows nothing of Ray; `Worker` is the Ray actor around it, reused from trial
to trial. A checkpoint holds the training and the record of every epoch, so that an attempt that takes over reports
first what the ledger has not heard (an epoch may be saved and its report lost) and trains on from there.

What the training raises is a result, not a crash: it comes back with its failure class, and Ray retries nothing but
lost workers, and those that get no checkpoints or no data. A worker whose GPU is unusable from now on makes itself one.
"""

from __future__ import annotations

import json
import math
import platform
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ray import tune

from lesion.errors import CheckpointAccessError, DataAccessError, NonFiniteLossError, RankError
from lesion.registry import Value
from lesion.sharing import cap_memory
from lesion.tasks import Task
from search.errors import TrialError, WorkerError
from search.fence import SupersededError, require_latest
from search.predictions import CONFUSION, PREDICTIONS, save_predictions
from search.remote.luggage import enter
from search.resumption import Trains, checkpoint_key, resume
from search.rows import ERROR, HOST_MEMORY, NON_FINITE, OUT_OF_MEMORY

TRACEBACK = "error.txt"
MESSAGE_LENGTH = 2000
COSTS = ("seconds", "device_seconds")
"""What an epoch costs, in records, orders and the ledger alike."""
CLEAN_UP = 20.0
"""Seconds that a worker waits for what a trial leaves behind, such as loading processes, before the next one."""


class Builds(Protocol):
    """Makes the training of one trial; must be picklable by name."""

    def __call__(self, settings: Mapping[str, Value], job: Job, seed: int) -> Trains:
        """A training that has not begun."""


@runtime_checkable
class Closes(Protocol):
    """A training that holds more than its own process."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True)
class Job:
    """What all trials of a session share; it travels to every worker.

    `identity` tells the study from every other one; `task` is what it asks of the data, None for their own classes;
    `folder` holds one folder a trial, `cache` what trials share; `threads` is for torch; `gpus` is the share of GPUs
    that a trial holds, 0 on CPUs, and several where it trains on all of them at once. Where the data have an address,
    `source`, each node has a copy of its own, of the content hash `data_hash`, and `data` is the driver's.
    """

    study: str
    identity: str
    data: Path
    split: str | None
    objective: str
    epochs: int
    folder: Path
    build: Builds
    threads: int = 1
    gpus: float = 0.0
    task: Task | None = None
    cache: Path | None = None
    source: str = ""
    data_hash: str = ""

    @property
    def devices(self) -> float:
        """GPUs held by a trial, or CPU cores where it holds no GPU."""
        return self.gpus or float(self.threads)

    @property
    def ranks(self) -> int:
        """Processes that train one model together, a whole GPU each; one where a trial holds no more than one."""
        return max(1, int(self.gpus))


@dataclass(frozen=True)
class Order:
    """One attempt at one trial; the ledger has heard of its epochs up to `reported`, and of what they cost.

    `seconds` and `device_seconds` are of all epochs of all attempts, those included that had to be trained again.
    `over` says that the ledger has ended the trial; Ray alone does not know it yet. `split` overrules the job's.
    `attempt` is the name of this attempt, by which a worker that was given up is kept from writing (`search.fence`).
    """

    number: int
    seed: int
    settings: Mapping[str, Value] = field(default_factory=dict)
    reported: int = 0
    over: bool = False
    split: str | None = None
    seconds: float = 0.0
    device_seconds: float = 0.0
    attempt: str = ""


class TrialRun:
    """One attempt: `step` trains an epoch, or reports one again that was saved but never heard of."""

    def __init__(self, job: Job, order: Order) -> None:
        self.job, self.order = job if order.split is None else replace(job, split=order.split), order
        self.folder = job.folder / str(order.number)
        self.records: list[dict[str, Any]] = []
        self.damage: list[str] = []
        self._training: Trains | None = None
        self._reported = order.reported
        self._repeated = dict.fromkeys(COSTS, 0.0)

    def step(self) -> dict[str, Any]:
        """The record of the next epoch, or of the failure: plain numbers and strings, `done` at the end.

        A failure that another process may mend is noted as `elsewhere`. Raises CheckpointAccessError, DataAccessError
        and RankError, which are to be taken for the death of the worker: the trial goes on elsewhere.
        """
        if self.order.over:
            return self._nothing
        try:
            if self._training is None:
                self._training = self._prepare()
            if self._reported == len(self.records) and not self._over:
                self.records.append(self._train(self._training))
            # A trial that was over already tells its last epoch again.
            record = self.records[min(self._reported, len(self.records) - 1)]
            self._reported = int(record["epoch"])
            done = self._over and self._reported == len(self.records)
            # The confusion matrix lies with the predictions; nobody needs it before the trial is over.
            told = {name: value for name, value in record.items() if name != CONFUSION}
            if done:
                self._end_processes()
            return {**told, **self._cost(record), "done": done, "damage": "; ".join(self.damage)}
        except (CheckpointAccessError, DataAccessError, RankError):
            self._end_processes()
            raise
        except SupersededError:
            self._end_processes()
            return {**self._nothing, "superseded": True}
        except Exception as error:
            preparing = self._training is None
            self._end_processes()
            return self._failed(error, preparing)

    def close(self) -> None:
        """Let go of the training, and of the processes that it may have on other GPUs."""
        self._end_processes()
        self._training = None

    def _end_processes(self) -> None:
        # The training itself stays for `close`: it may take for ever to go, and a step is what everybody waits for.
        if isinstance(self._training, Closes):
            self._training.close()

    @property
    def _nothing(self) -> dict[str, Any]:
        """The record of an attempt that is none: nobody waits for it."""
        return {"number": self.order.number, "epoch": self.order.reported, "over": True, "done": True}

    @property
    def _over(self) -> bool:
        """Whether the last record is of the trial's last epoch."""
        last = self.records[-1] if self.records else {"epoch": 0}
        return bool(last.get("over")) or last["epoch"] >= self.job.epochs

    def _prepare(self) -> Trains:
        self._require_latest()
        build = partial(self.job.build, self.order.settings, self.job, self.order.seed)
        resumed = resume(self.folder, self._key, build, self._require_latest)
        self.records, self.damage = resumed.records, [*self.damage, *resumed.damage]
        # A checkpoint further back than the ledger: the epochs between are trained and reported once more.
        self._reported = min(self._reported, len(self.records))
        # The records are of one line of epochs. What the ledger knows beyond them was spent on epochs that are lost.
        heard = self.records[self._reported - 1] if self._reported else {}
        self._repeated = {name: max(0.0, getattr(self.order, name) - heard.get(name, 0.0)) for name in COSTS}
        return resumed.training

    def _train(self, training: Trains) -> dict[str, Any]:
        started = time.perf_counter()
        metrics = {name: float(value) for name, value in training.step().items()}
        record = {**self._record(metrics, time.perf_counter() - started), "over": training.finished}
        record[CONFUSION] = training.confusion().tolist()
        self._keep(training, record)
        return record

    def _record(self, metrics: dict[str, float], seconds: float) -> dict[str, Any]:
        objective = self.job.objective
        if objective not in metrics:
            raise TrialError(f"the training reports no {objective!r}; it reports {', '.join(sorted(metrics))}")
        value = metrics[objective]
        if not math.isfinite(value):
            raise NonFiniteLossError(f"{objective} is {value} after epoch {len(self.records) + 1}")
        last = self.records[-1] if self.records else {"seconds": 0.0, "device_seconds": 0.0, "examples": 0}
        return {
            "number": self.order.number,
            "epoch": len(self.records) + 1,
            "value": value,
            # A metric that is undefined on this validation part (a class that is absent) is left out.
            "metrics": {name: number for name, number in metrics.items() if math.isfinite(number)},
            "seconds": last["seconds"] + seconds,
            "device_seconds": last["device_seconds"] + seconds * self.job.devices,
            "examples": int(metrics.get("examples", 0)),
        }

    def _cost(self, record: Mapping[str, Any]) -> dict[str, float]:
        """What all attempts have cost up to an epoch: it, those before it, and those that had to be trained again."""
        return {name: record[name] + self._repeated[name] for name in COSTS}

    def _keep(self, training: Trains, record: dict[str, Any]) -> None:
        from lesion import checkpoints  # noqa: PLC0415

        records = [*self.records, record]
        state = {"epoch": record["epoch"], "key": self._key, "records": [json.dumps(each) for each in records]}
        probabilities = training.predict()
        fence = self._require_latest
        try:
            save_predictions(self.folder / PREDICTIONS, probabilities, record, records, fence)
            checkpoints.save({**state, "training": training.state_dict()}, self.folder, fence)
        except OSError as error:
            # A full disk says nothing about the trial: it goes on, and after an interruption from further back.
            self.damage.append(f"epoch {record['epoch']} was not saved: {error}")

    def _require_latest(self) -> None:
        require_latest(self.folder, self.order.attempt)

    @property
    def _key(self) -> str:
        return checkpoint_key(self.job.identity, self.order.seed, self.order.settings)

    def _failed(self, error: Exception, preparing: bool) -> dict[str, Any]:
        from lesion.devices import spoils_its_process  # noqa: PLC0415

        epoch = min(self._reported, len(self.records))
        message = f"{type(error).__name__}: {error}"[:MESSAGE_LENGTH]
        last = self.records[-1] if self.records else {**dict.fromkeys(COSTS, 0.0), "examples": 0}
        spent = {**self._cost(last), "examples": last["examples"]}
        with suppress(OSError, SupersededError):
            self._require_latest()
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / TRACEBACK).write_text(traceback.format_exc())
        failed = {
            "number": self.order.number,
            "epoch": epoch,
            "failure": failure_class(error),
            "message": message,
            # What cannot be read or written here may be at hand on another machine, or in a moment.
            "elsewhere": spoils_its_process(error) or (preparing and _is_of_the_machine(error)),
        }
        return {**failed, **spent, "done": True, "damage": "; ".join(self.damage)}


class Worker(tune.Trainable):
    """The Ray actor that runs trial after trial; its configuration is a `Job`, an `Order` and a `Seat`."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the trial's seat holds; Ray gives an actor to the next trial only where both hold the same."""
        return tune.PlacementGroupFactory([config["seat"].bundle])

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first order."""
        import torch  # noqa: PLC0415

        enter()
        torch.set_num_threads(config["job"].threads)
        # Ray's fractions are bookkeeping.
        cap_memory(config["job"].gpus)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next order, in the same process; at once, for what Ray waits for here no watchdog ends."""
        self.past = getattr(self, "run", None)
        self.run = TrialRun(new_config["job"], new_config["order"])
        return True

    def step(self) -> dict[str, Any]:
        """One epoch; before the first, the trial before is let go of.

        Raises WorkerError where this worker shall get no other trial: Ray keeps one whose trial has merely ended, and
        takes a trial for ended that it hands to a worker which has gone.
        """
        self._let_go()
        result = self.run.step()
        if result.get("elsewhere"):
            raise WorkerError(result["message"])
        return result

    def _let_go(self) -> None:
        """Free the trial before; after `CLEAN_UP` seconds the next one begins all the same, with less memory."""
        past, self.past = [self.past], None
        if past != [None]:
            freeing = threading.Thread(target=_free, args=(past,), daemon=True)
            freeing.start()
            freeing.join(CLEAN_UP)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        """Nothing: `TrialRun` has saved the epoch already, where Ray has no hand in it."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `TrialRun` finds its own."""


def build_training(settings: Mapping[str, Value], job: Job, seed: int) -> Trains:
    """The real training, on the GPU or GPUs that Ray gave this worker, else on its CPU cores."""
    return train_on("cuda" if job.gpus else "cpu", settings, job, seed)


def train_on(kind: str, settings: Mapping[str, Value], job: Job, seed: int) -> Trains:
    """A training on a device of `kind`, "cuda" or "cpu"; where the job has several ranks, one device in each."""
    from lesion.data.travel import local_copy  # noqa: PLC0415
    from lesion.group import ALONE  # noqa: PLC0415
    from lesion.parallel import ParallelTraining, build_rank  # noqa: PLC0415

    threads = max(1, job.threads // job.ranks)
    path = local_copy(job.source, job.data_hash) if job.source else job.data
    build = partial(
        build_rank,
        kind=kind,
        settings=settings,
        data=_opened(path, job.data_hash, job.task),
        split=job.split,
        epochs=job.epochs,
        seed=seed,
        # Beside a GPU the trial's cores decode and augment; on a CPU they train.
        workers=threads - 1 if kind == "cuda" else 0,
        cache=job.cache,
    )
    return build(ALONE) if job.ranks == 1 else ParallelTraining(build, job.ranks, threads=threads)


@lru_cache(maxsize=1)
def _opened(path: Path, data_hash: str, task: Task | None) -> Any:
    from lesion.data.packed import PackedDataset  # noqa: PLC0415

    data = PackedDataset.open(path)
    if data_hash and data.content_hash != data_hash:
        raise TrialError(f"{path} on {platform.node()} holds other data than the study: {data.content_hash[:12]}")
    return data if task is None else task.apply(data)


def _free(past: list[TrialRun]) -> None:
    past.pop().close()


def failure_class(error: BaseException) -> str:
    """Class of a failure, by what the training raised.

    >>> failure_class(MemoryError()), failure_class(ValueError("lr"))
    ('out-of-host-memory', 'error')
    """
    if isinstance(error, NonFiniteLossError):
        return NON_FINITE
    from lesion.devices import is_out_of_host_memory, is_out_of_memory  # noqa: PLC0415

    if is_out_of_host_memory(error):
        return HOST_MEMORY
    return OUT_OF_MEMORY if is_out_of_memory(error) else ERROR


def _is_of_the_machine(error: BaseException | None) -> bool:
    """Whether a disk, a network or the like is behind an error."""
    return error is not None and (isinstance(error, OSError) or _is_of_the_machine(error.__cause__))
