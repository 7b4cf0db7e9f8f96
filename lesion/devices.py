"""What the device at hand does fastest: precision and memory format."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")  # torch on the CPU, CUDA, cuBLAS and cuDNN

_SPOILS = ("CUDA error", "cuDNN error", "HIP error")


def best_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_for(device: torch.device, asked: str = "auto") -> torch.dtype:
    """The dtype of the forward pass: what was asked for, or bfloat16 where the device trains faster in it.

    On a CPU that is where it has AMX. What AVX-512's instructions for bfloat16 gain, casting from float32 loses: a step
    took 1.1 to 1.8 times as long with each of eight networks. Bfloat16 has float32's range, so losses need no scaling.
    """
    if asked != "auto":
        return torch.bfloat16 if asked == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to `dtype`; does nothing for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def is_out_of_host_memory(problem: BaseException) -> bool:
    """Whether an error says that the memory of the machine ran out, not that of its GPU."""
    return isinstance(problem, MemoryError) or (isinstance(problem, RuntimeError) and _OUT_OF_MEMORY[0] in str(problem))


def spoils_its_process(problem: BaseException) -> bool:
    """Whether an error leaves the device of its process unusable: all that comes after it there fails as well.

    An illegal memory access and an assertion on the device are of this kind; memory that ran out is not.
    """
    said = isinstance(problem, RuntimeError) and any(words in str(problem) for words in _SPOILS)
    return said and not is_out_of_memory(problem)


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or on the host."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in _OUT_OF_MEMORY)
