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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.allocator import keep_freed_memory
from lesion.averaging import WeightAverage
from lesion.data.external import limited
from lesion.data.packed import PackedDataset
from lesion.devices import autocast, best_device, precision_for
from lesion.embeddings import Embeddings
from lesion.errors import CheckpointError, NonFiniteLossError, SettingError
from lesion.frozen import FrozenMaps, shows_the_same
from lesion.group import ALONE, Group
from lesion.learnt import of_weights, weights_file
from lesion.losses import Loss, build_loss, weighted
from lesion.material import Material, gather, people
from lesion.metrics import confusion_matrix, summary
from lesion.models import Model, build_model
from lesion.optimisation import Follower, Schedule, optimizers, schedules
from lesion.outputs import Outputs
from lesion.pace import Pace
from lesion.phases import Phase, Phases, parts
from lesion.prediction import Chosen, predict_probabilities, to_model_input
from lesion.registry import Value
from lesion.settings import on_frozen_backbone, resolve
from lesion.stepping import Batch, Gradients, GroupGradients

FORMAT, READS = 2, (1, 2)
LEARNT = "learnt"
"""What the file of weights that a training started from said that it had learnt from (`lesion.learnt`)."""
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
    take the cores that train. `cache` is a folder for what trainings share: feature maps of a frozen backbone, draws
    among neighbours. In a `group` of several ranks each takes its share of every batch (`lesion.ranks`).
    Raises SettingError, WeightsError, and DataError when the cache cannot be written.
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
        cache: Path | None = None,
        group: Group = ALONE,
    ) -> None:
        self.plan = on_frozen_backbone(resolve(settings))
        self.device = device or best_device()
        if self.device.type == "cpu":
            keep_freed_memory()
        self.epochs, self.epoch = epochs, 0
        self.data, self.split = data, limited(data, data.split(split), self.plan.general["external"])
        self.identity = Identity(dict(settings), seed, epochs, data.content_hash, self.split.hash)
        self._seed, self._workers, self._group = seed, workers, group
        general = self.plan.general
        torch.manual_seed(self._stream("weights"))  # torch's layers initialise from the global generator
        self.model = build_model(self.plan, data.classes).to(self.device)
        self._precision = precision_for(self.device, self.model.backbone, general["precision"])
        learnt = of_weights(Path(weights_file(settings)))
        self._learnt = None if learnt is None else learnt.to_json()
        self.model.to(memory_format=torch.channels_last)
        stored = self._embedded(cache)
        found = []
        for end, part in parts(data, self.split, general["external_epochs"], epochs):
            material = gather(self.plan, data, part, self._stream, embeddings=stored, cache=cache)
            group.require_shares(material.batch_size)
            found.append(Phase(end, material, self._loss_of(material)))
        self._phases = Phases(found)
        self._people = people(self.plan, data, self.split.validation)
        self._pace = Pace(general["monitor"], data.classes, general["early_stopping"])
        self._validated: NDArray[np.float64] | None = None
        self._judged: NDArray[np.float64] | None = None
        self._build()

    def step(self) -> dict[str, float]:
        """Train one epoch and judge it on the validation part.

        Returns `epoch`, `train_loss`, the scores of `lesion.outputs`, `lr`, `examples` (seen so far), `seconds` (of
        this epoch) and the metrics of `lesion.metrics.summary`. Where the best epoch is kept these are of that, and
        `epoch_accuracy` and so on of this one. Raises NonFiniteLossError.
        """
        start = time.perf_counter()
        trained = self._train()
        self.epoch += 1
        own = self._judge()
        return {
            "epoch": float(self.epoch),
            **trained,
            "lr": float(self.optimizer.param_groups[-1]["lr"]),
            "examples": float(self._phases.examples(self.epoch)),
            "seconds": time.perf_counter() - start,
            **(own if self._best is None else self._scores(self.predict())),
            **({} if self._best is None else {f"epoch_{name}": score for name, score in own.items()}),
        }

    def accompany(self, schedule: Mapping[str, Any] | None) -> None:
        """Train the epoch that rank 0 steps through at the same time; `schedule` is where that has its schedule.

        Rank 0 alone judges, averages weights, and keeps the best. Raises NonFiniteLossError.
        """
        if isinstance(self._schedule, Follower) and schedule is not None:
            self._schedule.load_state_dict(schedule)
        self._train()
        self.epoch += 1

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: the last epoch is over, or the patience with the validation part."""
        return self.epoch >= self.epochs or self._pace.exhausted

    def predict(self) -> NDArray[np.float64]:
        """Probabilities (N, classes) of the validation part by `predicting_model`; computed once an epoch."""
        if self._validated is None:
            self._validated = self._probabilities(self.predicting_model)
        return self._validated

    def confusion(self) -> NDArray[np.int64]:
        """Counts (true class, decided class) of the validation part, (classes, classes + 1), last those undecided.

        By the model as it is after this epoch, whichever is kept.
        """
        if self._judged is None:
            self._judged = self._probabilities(self._current)
        return confusion_matrix(self._judged, self.data.labels[self.split.validation], self.data.classes)

    @property
    def predicting_model(self) -> Model:
        """The model that is judged and kept: of the best epoch where the best is kept, else as it is now."""
        return self._current if self._best is None else self._best

    @property
    def schedule_state(self) -> dict[str, float] | None:
        """Where a schedule that follows the validation part stands; None for any other."""
        return self._schedule.state_dict() if isinstance(self._schedule, Follower) else None

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on: tensors, which the next step changes, numbers and strings only."""
        return {
            "format": FORMAT,
            "epoch": self.epoch,
            "identity": {**vars(self.identity), "settings": dict(self.identity.settings)},
            "parts": self._gradients.parts,
            "model": self.model.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "best": None if self._best is None else self._best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule_state,
            "pace": self._pace.state_dict(),
            LEARNT: self._learnt,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; CheckpointError when it is of another training, and nothing changes."""
        if state.get("format") not in READS:
            known = " and ".join(map(str, READS))
            raise CheckpointError(f"the checkpoint has format {state.get('format')!r}, this program reads {known}")
        given, own = state["identity"], {**vars(self.identity), "settings": dict(self.identity.settings)}
        other = sorted(key for key in own if given.get(key) != own[key])
        if other:
            raise CheckpointError(f"the checkpoint is of another training: {', '.join(other)} differ")
        self.model.load_state_dict(state["model"])
        # Copied: torch keeps the tensors it is given, and trainings of one state would share their momentum.
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if state["format"] > 1:  # before that nothing followed the validation part
            self._pace.load_state_dict(state["pace"])
            if self._best is not None:
                self._best.load_state_dict(state["best"])
            if isinstance(self._schedule, Follower):
                self._schedule.load_state_dict(state["schedule"])
        self.epoch, self._gradients.parts = state["epoch"], state["parts"]
        self._learnt = state.get(LEARNT, self._learnt)  # the file of weights may be another by now
        self._validated = self._judged = None

    def _embedded(self, cache: Path | None) -> Embeddings | None:
        """The feature maps that take, or may take, the place of photos where the head alone learns."""
        saves_time = cache is not None and shows_the_same(self.plan, self.model)
        if not self.plan.on_features and not saves_time:
            return None
        if cache is None:
            raise SettingError("a head that learns on features needs a folder for them: give Training a cache")
        backbone = self.plan.choices["backbone"]
        facts = (
            self.model,
            self.data.images,
            self.plan.general["image_size"],
            # Of the images alone: whatever task regroups their labels, the maps are the same.
            str(self.data.manifest.get("content_hash", self.data.content_hash)),
            {"name": backbone.name, **backbone.settings},
            cache / "features",
        )
        return Embeddings(*facts) if self.plan.on_features else FrozenMaps(*facts, precision=self._precision)

    @property
    def _phase(self) -> Phase:
        """That of the epoch that is trained next, or now."""
        return self._phases.at(self.epoch)

    @property
    def _embeddings(self) -> Embeddings | None:
        """The feature maps that are the examples; None where those are photos."""
        return self._phase.material.embeddings

    def _loss_of(self, material: Material) -> Loss:
        plain = build_loss(self.plan, material.counts)
        return plain if material.class_weights is None else weighted(plain, material.class_weights)

    def _build(self) -> None:
        optimizer, schedule = (self.plan.choices[k] for k in ("optimizer", "schedule"))
        self.optimizer: torch.optim.Optimizer = optimizers[optimizer.name].build(
            self.model.backbone, self.model.added, **optimizer.settings
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        steps = self._phases.steps
        self._schedule: Schedule = schedules[schedule.name].build(self.epochs * steps, steps, **schedule.settings)
        own, group = (self._logits, self._phase.loss, self.device), self._group
        self._gradients = Gradients(*own) if group.alone else GroupGradients(self.model, *own, group)
        decay = self.plan.general["weight_average"]
        self._average = WeightAverage(self.model, decay) if decay and group.leads else None
        best = self.plan.general["keep"] == "best" and group.leads
        self._best = deepcopy(self._current).requires_grad_(False).eval() if best else None

    def _train(self) -> dict[str, float]:
        """One pass; its mean loss, and how right the outputs of its steps were."""
        # Dropout draws from torch's global generator, the only one it knows.
        # Each rank has examples, and so masks, of its own.
        torch.manual_seed(self._stream("dropout", self.epoch, *[self._group.rank] * (not self._group.leads)))
        self.model.train()
        total, outputs = torch.zeros((), device=self.device), Outputs(self.data.classes, self._paths, self._group)
        material, pinned = self._phase.material, self.device.type == "cuda"
        self._gradients.loss = self._phase.loss
        shown = material.epoch(self.epoch, workers=self._workers, pinned=pinned, group=self._group)
        for index, batch in enumerate(shown):
            loss, logits = self._update(batch, self._phases.step(self.epoch, index))
            total += loss
            outputs.add(logits, batch.labels)
            if index % LOOKED_AT == 0 and not torch.isfinite(total):
                break
        mean = float(total) / material.steps
        if not math.isfinite(mean):
            raise NonFiniteLossError(f"the loss is {mean} in epoch {self.epoch + 1}; a lower lr is the usual cure")
        return {"train_loss": mean, **outputs.scores()}

    def _update(self, batch: Batch, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One optimizer step; returns the loss, a scalar, and the logits before it, which stay on the device."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule(step)
        before = self._gradients.accumulate(batch, self.optimizer)
        if clip := self.plan.general["clip"]:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.optimizer.step()
        if self._average is not None:
            self._average.update(self.model, step)
        return before

    def _logits(self, batch: Batch) -> torch.Tensor:
        people = None if batch.people is None else batch.people.to(self.device, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True) if self._phase.loss.spells else None
        if self._embeddings is not None:
            maps = self._embeddings.as_given(batch.examples.to(self.device, non_blocking=True))
            return self.model.classify(maps, people, labels)
        with autocast(self.device, self._precision):
            logits: torch.Tensor = self.model(to_model_input(batch.examples, self.device), people, labels)
        return logits

    def _judge(self) -> dict[str, float]:
        """Look at the validation part: this epoch's scores, whether it is the best, what the schedule makes of it."""
        probabilities = self._probabilities(self._current)
        if not np.isfinite(probabilities).all():
            raise NonFiniteLossError(f"the model predicts no numbers after epoch {self.epoch}; try a lower lr")
        self._judged, scores = probabilities, self._scores(probabilities)
        better = self._follows and self._pace.observe(scores)
        if isinstance(self._schedule, Follower):
            self._schedule.observe(self._pace.worth(scores))
        if self._best is None or better:
            self._validated = probabilities
        if self._best is not None and better:
            self._best.load_state_dict(self._current.state_dict())
        return scores

    @property
    def _paths(self) -> NDArray[np.int64] | None:
        """The words of each class (classes, steps) where the head spells them."""
        taxonomy = getattr(self.model.head, "taxonomy", None)
        return None if taxonomy is None else taxonomy.paths(self.data.classes)

    @property
    def _follows(self) -> bool:
        """Whether anything depends on the monitored metric, which then has to be defined."""
        return self._best is not None or self.plan.general["early_stopping"] > 0

    @property
    def _current(self) -> Model:
        """The average of the weights where one is kept, else the weights."""
        return self.model if self._average is None else self._average.model

    def _scores(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        return summary(probabilities, self.data.labels[self.split.validation], self.data.classes)

    def _probabilities(self, model: Model) -> NDArray[np.float64]:
        general = self.plan.general
        if self._embeddings is not None:
            return self._embeddings.predict(model, self.split.validation, self._people, general["views"])
        return predict_probabilities(
            model,
            Chosen(self.data.images, self.split.validation),
            people=self._people,
            image_size=general["image_size"],
            views=general["views"],
            device=self.device,
            precision=general["precision"],
        )

    def _stream(self, purpose: str, *numbers: int) -> int:
        """Seed of one purpose: generators of different purposes never share their numbers."""
        words = np.random.SeedSequence((self._seed, *purpose.encode(), *numbers)).generate_state(1)
        return int(words[0])
