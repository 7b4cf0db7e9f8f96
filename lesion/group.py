"""The ranks that train one model together: what each takes of a batch, and what they tell each other.

A training alone is a group of one, for which all of this does nothing; no process group is made for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from lesion.errors import RankError, SettingError

LEAST = 2
"""Examples of a batch that a rank must have: batch norm cannot train on one."""


@dataclass(frozen=True)
class Group:
    """`size` ranks, of which this process is `rank`; rank 0 reports, judges and saves for all of them.

    What speaks to the others is called by all ranks in one order, and fails in all of them where one is lost.
    """

    rank: int = 0
    size: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is nobody to speak to."""
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of the `count` examples of a batch this rank takes; shares differ by one at most.

        >>> [Group(rank, 3).share(8) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        each, more = divmod(count, self.size)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def least(self, count: int) -> int:
        """Examples of the smallest share of `count`."""
        return count // self.size

    def require_shares(self, batch_size: int) -> None:
        """SettingError where a batch is too small to be shared."""
        if not self.alone and self.least(batch_size) < LEAST:
            raise SettingError(
                f"batches of {batch_size} cannot be shared by {self.size} GPUs, of which each needs {LEAST} examples: "
                "give a trial fewer GPUs, or batch_size more"
            )

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of `value` over the ranks, the same in all of them; takes no part in gradients."""
        if self.alone:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value

    def everywhere(self, holds: bool, device: torch.device) -> bool:
        """Whether something holds in every rank; waits for `device`."""
        return holds if self.alone else int(self.total(torch.tensor(int(holds), device=device))) == self.size

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """The `values` (n, …) of all ranks, in the order of the ranks, on the CPU; n may differ."""
        if self.alone:
            return values.cpu()
        found: list[torch.Tensor | None] = [None] * self.size
        dist.all_gather_object(found, values.cpu())
        return torch.cat([each for each in found if each is not None])


ALONE = Group()


def is_of_the_group(problem: BaseException) -> bool:
    """Whether an error says that another rank is gone or silent, and nothing about this one."""
    if isinstance(problem, RankError | dist.DistError):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in ("gloo", "NCCL"))
