"""What a training holds while it runs: measured on a few steps of drawn images, in a process that ends afterwards.

    echo '{"settings": {"backbone": "resnet18", "image_size": 64}, "classes": 3, "device": "cpu", "threads": 1}' \
        | python -m lesion.footprint

Backbone, image size and batch size decide it; other settings are left at their defaults, and all weights are trained.
A process of its own, because memory that was held once is rarely given back.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesion.registry import Value

if TYPE_CHECKING:
    import torch

    from lesion.models import Model
    from lesion.settings import Plan

OTHERS = 2**30
"""Bytes of a GPU that may be taken before the model is built: this process's own context, a desktop's windows."""
STEPS = 4
VALIDATED = 64
"""Images of a batch of validation."""


@dataclass(frozen=True)
class Footprint:
    """`host_bytes` at the peak of the whole process, `device_bytes` reserved on the GPU (0 on a CPU).

    `images_per_second` of training alone on the device; `busy` is the share of that time in which the GPU computes, 1
    on a CPU. A training whose batch does not fit on the GPU in one piece takes all of it: `device_bytes` are those of
    the GPU then, `busy` is 1 and `images_per_second` 0, which nobody has measured.
    """

    host_bytes: int
    device_bytes: int
    images_per_second: float
    busy: float


def measure(settings: Mapping[str, Value], classes: int, device: torch.device, steps: int = STEPS) -> Footprint:
    """Build the model that flat `settings` describe, train it for `steps` steps and predict once; SettingError.

    Weights are not read: their values do not change what a step costs. Where memory of the GPU runs out while others
    hold some of it, that is raised: what the training needs is not known then.
    """
    import torch  # noqa: PLC0415 - who only reads footprints needs none of it

    from lesion.devices import is_out_of_host_memory, is_out_of_memory  # noqa: PLC0415
    from lesion.settings import resolve  # noqa: PLC0415

    plan = resolve(settings)
    others = _held_by_others(device)
    try:
        return _measured(plan, classes, device, steps)
    except (RuntimeError, MemoryError) as problem:
        if device.type != "cuda" or not is_out_of_memory(problem) or is_out_of_host_memory(problem):
            raise
        total = torch.cuda.get_device_properties(device).total_memory
        # Who came meanwhile counts, and who has gone since as well.
        if (others := max(others, _held_by_others(device))) > max(OTHERS, total // 8):
            problem.add_note(
                f"its memory ran out while other programs held {others / 2**30:.1f} of {total / 2**30:.1f} GiB "
                "('nvidia-smi' names them)"
            )
            raise
    # A training would halve its micro-batches (`lesion.stepping`) until they fill what it is given.
    return Footprint(host_bytes=peak_bytes(), device_bytes=total, images_per_second=0.0, busy=1.0)


def _held_by_others(device: torch.device) -> int:
    """Bytes of a GPU that are taken, and not reserved for this process's tensors; 0 on a CPU."""
    import torch  # noqa: PLC0415

    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device)


def _measured(plan: Plan, classes: int, device: torch.device, steps: int) -> Footprint:
    import torch  # noqa: PLC0415

    from lesion.allocator import keep_freed_memory  # noqa: PLC0415
    from lesion.models import build_model  # noqa: PLC0415
    from lesion.optimisation import optimizers  # noqa: PLC0415
    from lesion.prediction import predict_probabilities  # noqa: PLC0415

    if device.type == "cpu":
        keep_freed_memory()  # as a training does: its peak is another one
    model = build_model(plan, classes, pretrained=False).to(device)
    model.to(memory_format=torch.channels_last)
    choice = plan.choices["optimizer"]
    optimizer = optimizers[choice.name].build(model.backbone, model.added, **choice.settings)
    step = _step(model, optimizer, plan, classes, device)
    step()  # what is made once: momentum, chosen kernels, the context of the device
    seconds, busy = _timed(step, steps, device)
    size = plan.general["image_size"]
    shown = torch.zeros(VALIDATED, size, size, 3, dtype=torch.uint8).numpy()
    predict_probabilities(model, shown, image_size=size, device=device, precision=plan.general["precision"])
    on_gpu = device.type == "cuda"
    return Footprint(
        host_bytes=peak_bytes(),
        device_bytes=torch.cuda.max_memory_reserved(device) if on_gpu else 0,
        images_per_second=plan.general["batch_size"] * steps / seconds,
        busy=busy,
    )


def _step(
    model: Model, optimizer: torch.optim.Optimizer, plan: Plan, classes: int, device: torch.device
) -> Callable[[], None]:
    import torch  # noqa: PLC0415

    from lesion.devices import autocast, precision_for  # noqa: PLC0415
    from lesion.prediction import to_model_input  # noqa: PLC0415

    size, batch = plan.general["image_size"], plan.general["batch_size"]
    images = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    labels = torch.arange(batch).remainder(classes).to(device)
    dtype = precision_for(device, model.backbone, plan.general["precision"])
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        with autocast(device, dtype):
            # A head that spells is led along the words when it learns, else it would not learn at all.
            logits = model(to_model_input(images, device), None, labels if model.spells else None)
        loss = (
            logits.float().square().mean()
            if model.spells
            else torch.nn.functional.cross_entropy(logits.float(), labels)
        )
        loss.backward()
        optimizer.step()

    return step


def _timed(step: Callable[[], None], steps: int, device: torch.device) -> tuple[float, float]:
    """Seconds of all steps, and the share of them in which the device computes."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return time.perf_counter() - start, 1.0
    import torch  # noqa: PLC0415

    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            step()
        torch.cuda.synchronize(device)
    computing = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return seconds, min(1.0, computing / seconds)


def peak_bytes() -> int:
    """Bytes that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands the peak that getrusage tells down to the children of a process, through exec as well.
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def main() -> None:
    """Read what to measure from stdin, print the footprint as JSON."""
    import torch  # noqa: PLC0415

    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    found = measure(asked["settings"], asked["classes"], torch.device(asked["device"]))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
