"""A GPU whose memory runs out for real: this process is capped below what a step needs; `lesion` alone is enough."""

import gc
from collections.abc import Iterator

import pytest
import torch
from small_data import small_data

from lesion.devices import is_out_of_host_memory, is_out_of_memory, spoils_its_process
from lesion.training import Training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
SETTINGS = {
    "image_size": 128, "batch_size": 64, "backbone": "resnet18", "precision": "float32", "optimizer.adamw.lr": 1e-3,
}  # fmt: skip
PARTS = 32
"""Pieces of two images of a batch of 64: it is cut no further."""


@pytest.fixture(autouse=True)
def _whole_gpu() -> Iterator[None]:
    """Begins and ends with all of the memory, and nothing held."""
    forget()
    yield
    cap(torch.cuda.get_device_properties(0).total_memory)
    forget()


def forget() -> None:
    """Give back what nobody refers to, and count from here."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def cap(most: float) -> None:
    """Let this process hold `most` bytes of the GPU, as a worker that shares one with others may."""
    torch.cuda.set_per_process_memory_fraction(most / torch.cuda.get_device_properties(0).total_memory)


def training(batch: int = 64) -> Training:
    data = small_data(train=(32, 16, 16), size=128)
    settings = {**SETTINGS, "batch_size": batch}
    return Training(settings, data, epochs=2, seed=0, device=torch.device("cuda"))


def peak(batch: int) -> int:
    """Bytes that an epoch of so many images at a time takes."""
    training(batch).step()
    taken = torch.cuda.max_memory_allocated()
    forget()
    return taken


def test_micro_batches_are_halved_until_they_fit_and_the_training_completes():
    whole, half = peak(64), peak(32)
    assert whole > 1.2 * half
    cap((whole + half) / 2)
    capped = training()
    losses = [capped.step()["train_loss"] for _ in range(2)]
    assert capped.finished
    assert all(0 < loss < 10 for loss in losses)
    assert 1 < capped.state_dict()["parts"] < PARTS
    assert torch.cuda.max_memory_reserved() <= (whole + half) / 2


def test_what_does_not_fit_two_at_a_time_is_out_of_memory_and_the_next_trial_is_not():
    large = training()
    cap(torch.cuda.memory_reserved() + 2**20)  # the model, and no room for its gradients
    with pytest.raises(torch.OutOfMemoryError) as told:
        large.step()
    # What `search.trial` records as out-of-memory: not the machine's, nothing that another worker would mend.
    assert is_out_of_memory(told.value)
    assert not is_out_of_host_memory(told.value)
    assert not spoils_its_process(told.value)
    assert large.state_dict()["parts"] == PARTS
    del large, told
    cap(torch.cuda.get_device_properties(0).total_memory)
    assert training().step()["train_loss"] > 0
