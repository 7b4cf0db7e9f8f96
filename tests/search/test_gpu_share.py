"""What trials that share a GPU are given of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lesion.footprint import Footprint
from lesion.sharing import CONTEXT, SPARE, cap_memory
from search.seats import Kind, trials_on


def test_caps_of_all_trials_on_a_gpu_leave_room_for_what_cuda_holds_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    caps: list[float] = []
    total = 16 * 2**30
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=total))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", caps.append)
    for share in (0.25, 1.0, 0.0, 0.01):
        cap_memory(share)
    fourth, tiny = caps
    assert 4 * (fourth * total + CONTEXT) == pytest.approx(total)
    # A measured trial fits under its cap: its share was reckoned with the same bytes.
    needed = Footprint(0, int((total / 4 - CONTEXT) / SPARE), 1.0, 0.25)
    assert trials_on(Kind("T4", 1, total, 16), needed) == 4
    assert needed.device_bytes * SPARE <= fourth * total
    assert tiny == pytest.approx(0.005)
