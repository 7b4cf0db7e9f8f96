"""One trial's training: a step is an epoch, and it can stop and go on between any two.

Everything drawn at random is a pure function of seed and epoch (order, augmentation, dropout), so a training
that was interrupted and resumed equals one that was not, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.augment import Augmenter, augmentations
from lesion.averaging import WeightAverage
from lesion.balancing import balancings
from lesion.data.packed import PackedDataset
from lesion.devices import autocast, best_device, is_out_of_memory, precision_for
from lesion.errors import CheckpointError, NonFiniteLossError
from lesion.examples import Epoch, ExampleOrder, batches
from lesion.losses import losses, mass
from lesion.metrics import summary
from lesion.models import Model, build_model
from lesion.optimisation import optimizers, schedules
from lesion.prediction import predict_probabilities, to_model_input
from lesion.registry import Value
from lesion.settings import resolve

FORMAT = 1
LOOKED_AT = 50  # steps between looks at the loss: a GPU would wait at each


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must share with the training that loads it."""

    settings: Mapping[str, Value]
    seed: int
    epochs: int
    data: str
    split: str


class Training:
    """A model learning one split of a packed data set.

    `settings` are flat (see `lesion.settings`), `epochs` is the length that the learning-rate schedule is laid
    out for, `seed` decides all that is random. `workers` load and augment beside a GPU; on a CPU they would
    take the cores that train. Raises SettingError and WeightsError.
    """

    def __init__(
        self,
        settings: Mapping[str, Value],
        data: PackedDataset,
        *,
        epochs: int,
        seed: int,
        split: str | None = None,
        device: torch.device | None = None,
        workers: int = 0,
    ) -> None:
        self.plan = resolve(settings)
        self.device = device or best_device()
        self.epochs, self.epoch = epochs, 0
        self.data, self.split = data, data.split(split)
        self.identity = Identity(dict(settings), seed, epochs, data.content_hash, self.split.hash)
        self._seed, self._workers = seed, workers
        self._labels = data.table["label"].to_numpy(np.int64)
        self._rows = self._balanced_rows()
        general = self.plan.general
        self._batch_size = min(general["batch_size"], len(self._rows))
        shown = len(self.split.train) if general["epoch"] == "equal" else len(self._rows)
        self._steps = max(1, shown // self._batch_size)
        self._order = ExampleOrder(self._rows, self._steps * self._batch_size, self._stream("order"))
        self._augmenter = Augmenter(self._policy(), self._stream("augmentation"))
        self._precision = precision_for(self.device, general["precision"])
        self._validated: NDArray[np.float64] | None = None
        self._parts = 1  # micro-batches of a step; doubled when memory runs out
        self._build()

    def step(self) -> dict[str, float]:
        """Train one epoch and judge it on the validation part.

        Returns `epoch`, `train_loss`, `lr`, `examples` (seen so far), `seconds` (of this epoch) and the metrics
        of `lesion.metrics.summary`. Raises NonFiniteLossError.
        """
        start = time.perf_counter()
        # Dropout draws from torch's global generator, the only one it knows.
        torch.manual_seed(self._stream("dropout", self.epoch))
        self.model.train()
        epoch = Epoch(self.data.images, self._labels, self._order.epoch(self.epoch), self._augmenter, self.epoch)
        total = torch.zeros((), device=self.device)
        loader = batches(epoch, self._batch_size, workers=self._workers, pinned=self.device.type == "cuda")
        for index, (images, labels) in enumerate(loader):
            total += self._update(images, labels, self.epoch * self._steps + index)
            if index % LOOKED_AT == 0 and not torch.isfinite(total):
                break
        train_loss = float(total) / self._steps
        if not math.isfinite(train_loss):
            raise NonFiniteLossError(
                f"the loss is {train_loss} in epoch {self.epoch + 1}; a lower lr is the usual cure"
            )
        self.epoch += 1
        self._validated = None
        if not np.isfinite(self.predict()).all():
            raise NonFiniteLossError(f"the model predicts no numbers after epoch {self.epoch}; try a lower lr")
        scores = summary(self.predict(), self._labels[self.split.validation], self.data.classes)
        return {
            "epoch": float(self.epoch),
            "train_loss": train_loss,
            "lr": float(self.optimizer.param_groups[-1]["lr"]),
            "examples": float(self.epoch * self._steps * self._batch_size),
            "seconds": time.perf_counter() - start,
            **scores,
        }

    def predict(self) -> NDArray[np.float64]:
        """Probabilities (N, classes) of the validation part; computed once an epoch."""
        if self._validated is None:
            self._validated = self._probabilities(self.split.validation)
        return self._validated

    def _probabilities(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        general = self.plan.general
        return predict_probabilities(
            self.predicting_model,
            self.data.images[rows],
            image_size=general["image_size"],
            views=general["views"],
            device=self.device,
            precision=general["precision"],
        )

    @property
    def predicting_model(self) -> Model:
        """The model that is judged and kept: the average of the weights where one is kept, else the last."""
        return self.model if self._average is None else self._average.model

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on: tensors, which the next step changes, numbers and strings only."""
        return {
            "format": FORMAT,
            "epoch": self.epoch,
            "identity": {**vars(self.identity), "settings": dict(self.identity.settings)},
            "parts": self._parts,
            "model": self.model.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; CheckpointError when it is of another training, and nothing changes."""
        if state.get("format") != FORMAT:
            raise CheckpointError(f"the checkpoint has format {state.get('format')!r}, this program reads {FORMAT}")
        given, own = state["identity"], {**vars(self.identity), "settings": dict(self.identity.settings)}
        other = sorted(key for key in own if given.get(key) != own[key])
        if other:
            raise CheckpointError(f"the checkpoint is of another training: {', '.join(other)} differ")
        self.model.load_state_dict(state["model"])
        # Copied: torch keeps the tensors it is given, and trainings of one state would share their momentum.
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.epoch, self._parts, self._validated = state["epoch"], state["parts"], None

    def _build(self) -> None:
        torch.manual_seed(self._stream("weights"))  # torch's layers initialise from the global generator
        self.model = build_model(self.plan, len(self.data.classes)).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        optimizer, schedule, loss = (self.plan.choices[k] for k in ("optimizer", "schedule", "loss"))
        self.optimizer: torch.optim.Optimizer = optimizers[optimizer.name].build(
            self.model.backbone, self.model.head, **optimizer.settings
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._schedule = schedules[schedule.name].build(self.epochs * self._steps, self._steps, **schedule.settings)
        counts = np.bincount(self._labels[self._rows], minlength=len(self.data.classes))
        self._loss = losses[loss.name].build(counts, **loss.settings)
        decay = self.plan.general["weight_average"]
        self._average = WeightAverage(self.model, decay) if decay else None

    def _update(self, images: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        """One optimizer step; returns the loss before it, a scalar that stays on the device."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule(step)
        loss = self._backward(images, labels)
        if clip := self.plan.general["clip"]:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.optimizer.step()
        if self._average is not None:
            self._average.update(self.model, step)
        return loss

    def _backward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Gradients of the batch, in as many micro-batches as memory asks for."""
        while True:
            self.optimizer.zero_grad()
            try:
                return sum(
                    (self._accumulate(i, y, self._share(y, labels)) for i, y in self._micro_batches(images, labels)),
                    torch.zeros((), device=self.device),
                )
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem) or 4 * self._parts > len(labels):
                    raise
            # Outside the except clause, which would keep the failed step's tensors alive.
            self._parts *= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _micro_batches(self, images: torch.Tensor, labels: torch.Tensor) -> zip[tuple[torch.Tensor, torch.Tensor]]:
        # Not chunk, which cuts 10 into 3, 3, 3 and 1: batch norm cannot train on one.
        return zip(images.tensor_split(self._parts), labels.tensor_split(self._parts), strict=True)

    def _share(self, part: torch.Tensor, labels: torch.Tensor) -> float:
        return mass(self._loss, part) / mass(self._loss, labels)

    def _accumulate(self, images: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
        with autocast(self.device, self._precision):
            logits = self.model(to_model_input(images, self.device))
        loss: torch.Tensor = self._loss(logits.float(), labels.to(self.device, non_blocking=True)) * share
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _balanced_rows(self) -> NDArray[np.int64]:
        choice = self.plan.choices["balancing"]
        train = self.split.train
        rng = np.random.default_rng(self._stream("balancing"))
        positions = balancings[choice.name].build(self._labels[train], rng, **choice.settings)
        rows: NDArray[np.int64] = train[positions]
        return rows

    def _policy(self) -> list[Any]:
        choice: Any = self.plan.choices["augmentation"]
        policy: list[Any] = augmentations[choice.name].build(self.plan.general["image_size"], **choice.settings)
        return policy

    def _stream(self, purpose: str, *numbers: int) -> int:
        """Seed of one purpose: generators of different purposes never share their numbers."""
        words = np.random.SeedSequence((self._seed, *purpose.encode(), *numbers)).generate_state(1)
        return int(words[0])
