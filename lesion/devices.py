"""What the device at hand does fastest: precision and memory format."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")  # torch on the CPU, CUDA, cuBLAS and cuDNN

_SPOILS = ("CUDA error", "cuDNN error", "HIP error")


def best_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_for(device: torch.device, network: nn.Module, asked: str = "auto") -> torch.dtype:
    """The dtype of the forward pass: what was asked for, or bfloat16 where the device trains `network` faster in it.

    On a CPU that is where it has AMX and the network gives it something to multiply (benchmarks/speed.md): ResNets,
    VGG-11, DenseNet-121, ViT-B/16, Swin-T and ConvNeXt-Tiny trained 1.2 to 2.8 times as fast; MobileNets,
    EfficientNet-B0 and Lite0, MNASNet and ShuffleNet up to 1.7 times as slowly. What AVX-512's instructions for
    bfloat16 gain, casting from float32 loses: a step took 1.1 to 1.8 times as long with each of eight networks.
    Bfloat16 has float32's range, so losses need no scaling.
    """
    if asked != "auto":
        return torch.bfloat16 if asked == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    faster = torch.cpu._is_amx_tile_supported() and not _waits_for_memory(network)
    return torch.bfloat16 if faster else torch.float32


def _waits_for_memory(network: nn.Module) -> bool:
    """Whether depthwise convolutions between narrow others are what a step of `network` spends its time on.

    A depthwise convolution multiplies each value a few times only, and AMX not at all. ConvNeXt has some as well, but
    between linear layers that hold nearly all of its weights and work.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not any(1 < each.groups == each.in_channels for each in convolutions):
        return False
    linear = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
    return linear < sum(each.weight.numel() for each in convolutions)


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
