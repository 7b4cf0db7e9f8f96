"""Precision by what the device has, and what counts as memory that ran out."""

import pytest
import torch
import torchvision

from lesion.devices import autocast, best_device, is_out_of_memory, precision_for

CPU = torch.device("cpu")


DENSE = torch.nn.Conv2d(8, 8, 3)


@pytest.mark.parametrize(("amx", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_cpu_takes_bfloat16_where_it_has_amx(monkeypatch, amx, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert precision_for(CPU, DENSE) is dtype
    assert precision_for(CPU, DENSE, "float32") is torch.float32
    assert precision_for(CPU, DENSE, "bfloat16") is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        # As they were timed on a CPU with AMX (benchmarks/speed.md).
        ("resnet18", torch.bfloat16),
        ("resnext50_32x4d", torch.bfloat16),  # groups of several channels
        ("regnet_y_400mf", torch.bfloat16),
        ("densenet121", torch.bfloat16),
        ("vit_b_16", torch.bfloat16),
        ("convnext_tiny", torch.bfloat16),  # depthwise, between linear layers
        ("mobilenet_v2", torch.float32),
        ("mobilenet_v3_large", torch.float32),
        ("efficientnet_b0", torch.float32),
        ("shufflenet_v2_x1_0", torch.float32),
        ("mnasnet1_0", torch.float32),
    ],
)
def test_amx_is_used_for_networks_that_it_makes_faster(monkeypatch, name, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert precision_for(CPU, torchvision.models.get_model(name, num_classes=3)) is dtype


def test_a_gpu_that_emulates_bfloat16_takes_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert precision_for(torch.device("cuda"), DENSE) is torch.float32


@pytest.mark.parametrize(("found", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, found, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert best_device().type == device


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_the_dtype(dtype):
    with autocast(CPU, dtype):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype is dtype


def test_memory_that_torch_cannot_get_is_recognised():
    with pytest.raises(RuntimeError) as problem:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(problem.value)


@pytest.mark.parametrize(
    ("problem", "recognised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(12, "Cannot allocate memory: out of memory"), False),  # a fork that failed: halving does not help
    ],
)
def test_out_of_memory(problem, recognised):
    assert is_out_of_memory(problem) is recognised
