"""A training whose batch does not fit on a GPU in one piece has a footprint too: it takes the whole of it.

Where somebody else holds the GPU's memory nobody knows whether it fits: that is no footprint.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lesion import models
from lesion.footprint import Footprint, measure

SETTINGS = {"backbone": "squeezenet1_1", "image_size": 32, "batch_size": 4}
GB = 2**30
TOTAL = 16 * GB
OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 16 GiB")


def hold(monkeypatch: pytest.MonkeyPatch, *others: int) -> None:
    """Have programs beside this one hold so many bytes of the GPU, one look after the other."""
    looks = iter(others)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (TOTAL - next(looks) - 3 * GB, TOTAL))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GB)


@pytest.fixture
def _small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=TOTAL))
    hold(monkeypatch, 2**29, 2**29)  # the context of a process


def raises(problem: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise problem

    return fail


@pytest.mark.usefixtures("_small_gpu")
@pytest.mark.parametrize(
    "problem",
    [
        OUT,
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_what_does_not_fit_in_one_piece_takes_the_whole_gpu(
    problem: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "build_model", raises(problem))
    found = measure(SETTINGS, 3, torch.device("cuda"))
    assert found == Footprint(found.host_bytes, device_bytes=TOTAL, images_per_second=0.0, busy=1.0)
    assert found.host_bytes > 2**20


@pytest.mark.usefixtures("_small_gpu")
@pytest.mark.parametrize(
    ("problem", "device"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), "cuda"),
        (MemoryError("the host's"), "cuda"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "cpu"),
    ],
)
def test_other_errors_and_the_host_s_memory_are_no_footprint(
    problem: Exception, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "build_model", raises(problem))
    with pytest.raises(type(problem), match=str(problem)[:9]):
        measure(SETTINGS, 3, torch.device(device))


@pytest.mark.usefixtures("_small_gpu")
@pytest.mark.parametrize("others", [(12 * GB, 12 * GB), (12 * GB, 0), (0, 12 * GB)], ids=["stays", "goes", "comes"])
def test_memory_that_somebody_else_holds_says_nothing_of_a_training(
    others: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "build_model", raises(OUT))
    hold(monkeypatch, *others)
    with pytest.raises(torch.OutOfMemoryError) as told:
        measure(SETTINGS, 3, torch.device("cuda"))
    # What is read of a process that ends with an error is its last line.
    assert told.value.__notes__[-1].startswith("its memory ran out while other programs held 12.0 of 16.0 GiB")
