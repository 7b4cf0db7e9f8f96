"""Which part of a backbone trains: its last stages, its last layers, or all of it.

Layers are convolutions and linear layers, counted from the end in the order in which the model lists them. What stands
between two layers, batch norm above all, goes with the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lesion.errors import SettingError

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True)
class Freezing:
    """How much trains; None is everything. `batch_norm` "frozen" keeps the statistics of what trains as they are too.

    Raises SettingError when stages and layers are both counted.
    """

    trainable_stages: int | None = None
    trainable_layers: int | None = None
    batch_norm: str = "train"

    def __post_init__(self) -> None:
        if self.trainable_stages is not None and self.trainable_layers is not None:
            raise SettingError(
                f"trainable_stages is {self.trainable_stages} and trainable_layers is {self.trainable_layers}: "
                "two answers to one question; leave one out"
            )

    def apply(self, stages: Sequence[nn.Module]) -> list[nn.Module]:
        """Freeze what does not train; returns the modules that have to stay in evaluation mode."""
        frozen = self._frozen(stages)
        for module in frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        # Not a block whose end trains: some ask in their own forward whether they are in training.
        still = [module for module in frozen if not any(p.requires_grad for p in module.parameters())]
        if self.batch_norm == "frozen":
            every = (module for stage in stages for module in stage.modules())
            still += [module for module in every if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        return still

    def _frozen(self, stages: Sequence[nn.Module]) -> list[nn.Module]:
        if self.trainable_stages is not None:
            if self.trainable_stages > len(stages):
                raise SettingError(
                    f"trainable_stages is {self.trainable_stages}, but the backbone has {len(stages)} stages"
                )
            stages = stages[: len(stages) - self.trainable_stages]
            return [module for stage in stages for module in stage.modules()]
        modules = [module for stage in stages for module in stage.modules()]
        if self.trainable_layers is None:
            return []
        layers = [at for at, module in enumerate(modules) if isinstance(module, LAYERS)]
        if self.trainable_layers > len(layers):
            raise SettingError(
                f"trainable_layers is {self.trainable_layers}, but the backbone has {len(layers)} layers "
                "(convolutions and linear layers)"
            )
        return modules[: layers[-self.trainable_layers]] if self.trainable_layers else modules
