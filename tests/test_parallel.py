"""A training of several processes: interrupted and resumed, short of memory, and with ranks that fail, hang and die."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from ranks import PLAIN, broken_elsewhere, build, require_alike
from test_training import same, told

from lesion.errors import RankError
from lesion.group import ALONE
from lesion.parallel import ParallelTraining


def parallel(**settings: Any) -> ParallelTraining:
    return ParallelTraining(partial(build, **settings), 2, silence=60)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_resumed_on_two_ranks_equals_uninterrupted_on_two() -> None:
    settings = {"keep": "best", "schedule": "plateau", "schedule__plateau__patience": 1, "augmentation": "strong"}
    whole = parallel(**settings)
    metrics = [told(whole.step())]
    halfway = deepcopy(whole.state_dict())
    metrics.append(told(whole.step()))
    whole.close()
    resumed = parallel(**settings)
    resumed.load_state_dict(halfway)
    assert told(resumed.step()) == metrics[1]
    resumed.close()
    assert same(resumed.state_dict(), whole.state_dict())
    assert np.array_equal(resumed.predict(), whole.predict())
    assert (resumed.confusion().sum(), resumed.finished) == (6, False)
    # And one process goes on from it as well.
    alone = build(ALONE, **settings)
    alone.load_state_dict(halfway)
    assert alone.step()["epoch"] == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_rank_that_lacks_memory_has_all_cut_their_shares() -> None:
    settings = {**PLAIN, "batch_size": 8}
    alone, two = build(ALONE, **settings), ParallelTraining(partial(broken_elsewhere, how="memory", **settings), 2)
    expected, metrics = alone.step(), two.step()
    two.close()
    assert two.state_dict()["parts"] == 2
    assert metrics["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
    require_alike(two.training, alone)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("build", ValueError, "no such image"),
        ("step", ValueError, "no such image"),
        ("no memory", torch.OutOfMemoryError, "out of memory in another of 2 ranks|is too many"),
        ("die", RankError, "the process of rank 1 ended by SIGKILL"),
        ("hang", RankError, "another of 2 ranks no longer answers: "),
    ],
)
def test_what_fails_another_rank_fails_the_training_within_seconds(how: str, error: type, words: str) -> None:
    two = ParallelTraining(partial(broken_elsewhere, how=how, **PLAIN), 2, silence=5 if how == "hang" else 60)
    began = time.monotonic()
    with pytest.raises(error, match=words):
        two.step()
    assert time.monotonic() - began < 60  # most of it to start a process on a busy machine
    assert two.ranks.others[0].process.returncode is not None
    assert not torch.distributed.is_initialized()


def gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_other_ranks_end_with_close_and_with_what_nobody_holds_any_more() -> None:
    one, other = parallel(**PLAIN), parallel(**PLAIN)
    pids = [each.ranks.others[0].process.pid for each in (one, other)]
    folders = [each.ranks._folder for each in (one, other)]
    one.step()
    one.close()
    one.close()
    del other
    assert all(map(gone, pids))
    assert not any(folder.exists() for folder in folders)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_other_ranks_end_with_a_rank_0_that_is_killed() -> None:
    script = Path(__file__).with_name("ranks.py")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        pid = int(leader.stdout.readline())
        assert psutil.pid_exists(pid)
        leader.send_signal(signal.SIGKILL)
        assert gone(pid)
