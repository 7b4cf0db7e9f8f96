from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.watchdog import RETRIES, UNMADE, Coroner, Death, Losses, Watchdog, kernel_kills, verdict


class Clock:
    """Time that passes when it is told to; the driver looks every second meanwhile."""

    def __init__(self) -> None:
        self.now, self.ended = 0.0, []
        self.trial: Any = SimpleNamespace(trial_id="a", temporary_state=SimpleNamespace(ray_actor="first"))
        self.dog = Watchdog(3600, end=self.ended.append, clock=lambda: self.now)

    def passes(self, seconds: int) -> list[Any]:
        for _ in range(seconds):
            self.now += 1
            self.dog.look([self.trial])
        return self.ended


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_before_the_first_epoch_the_patience_counts(clock: Clock) -> None:
    assert clock.passes(3600) == []
    assert clock.passes(2) == ["first"]
    assert clock.passes(100) == ["first"]
    assert clock.dog.silence("a") == pytest.approx(3601, abs=1)
    assert clock.dog.silence("a") is None


def test_later_ten_times_the_slowest_epoch_counts(clock: Clock) -> None:
    clock.passes(1001), clock.dog.heard("a")  # has all the preparations in it, and counts while it is alone
    for seconds in (100, 20):
        clock.passes(seconds), clock.dog.heard("a")
    assert clock.passes(1000) == []
    assert clock.passes(1) == ["first"]


def test_short_epochs_leave_a_tenth_of_the_patience(clock: Clock) -> None:
    clock.passes(2), clock.dog.heard("a")
    assert clock.passes(359) == []
    assert clock.passes(3) == ["first"]


def test_how_long_a_worker_was_not_heard(clock: Clock) -> None:
    assert clock.dog.unheard("a") == 0
    clock.passes(100), clock.dog.heard("a")
    clock.passes(30)
    assert clock.dog.unheard("a") == 30
    clock.trial.temporary_state.ray_actor = None
    clock.passes(50)  # no worker: the trial waits for a place
    assert clock.dog.unheard("a") == 0


def test_another_worker_begins_anew(clock: Clock) -> None:
    clock.passes(3000)
    clock.trial.temporary_state.ray_actor = None
    clock.passes(3000)
    clock.trial.temporary_state.ray_actor = "second"
    assert clock.passes(3600) == []
    assert clock.passes(2) == ["second"]


def test_what_a_busy_driver_did_not_hear_is_not_held_against_the_trial(clock: Clock) -> None:
    clock.passes(10)
    clock.now += 5000  # the ledger's server was restarted
    assert clock.passes(3000) == []


def test_deaths_are_told_apart() -> None:
    kills = iter([4, 4, 5, 6, 6])
    coroner = Coroner(lambda: next(kills))
    assert coroner.death("exit code 2", None, here=True).failure == "lost"
    assert coroner.death("killed by SIGKILL", None, here=True).failure == "out-of-host-memory"
    assert coroner.death("killed by SIGKILL", None, here=False).failure == "lost"
    assert coroner.death("killed", 99.0, here=True) == Death("hung", "nothing was heard of it for 99 s")
    words = "1 worker(s) were killed due to the node running low on memory. " + 900 * "Refer to the documentation "
    ray_did = Coroner(lambda: 0).death(words, None, here=False)
    assert "fewer trials at a time" in str(verdict(ray_did, 0, 1)).lower()


def test_only_what_the_kernel_did_just_now_explains_a_death() -> None:
    now, kills = [0.0], [0]
    coroner = Coroner(lambda: kills[0], clock=lambda: now[0])

    def passes(seconds: int) -> None:
        for _ in range(10 * seconds):
            now[0] += 0.1
            coroner.look()

    passes(3600)
    kills[0] += 1  # somebody else's process
    passes(60)
    assert coroner.death("segmentation fault", None, here=True).failure == "lost"
    passes(60)
    kills[0] += 1
    passes(3)  # Ray takes its time to say so
    assert coroner.death("killed by SIGKILL", None, here=True).failure == "out-of-host-memory"
    assert coroner.death("and its neighbour", None, here=True).failure == "lost"
    kills[0] += 1
    now[0] += 200  # the driver waited for the ledger's server, and looked at nothing
    assert coroner.death("killed by SIGKILL", None, here=True).failure == "out-of-host-memory"


def test_a_worker_that_could_not_be_made_died_of_the_last_error_that_ray_quotes() -> None:
    words = (
        "1 The actor died because of an error raised in its creation task, ray::Worker.__init__() (pid=3) At least one "
        "of the input arguments could not be computed: ray.exceptions.RaySystemError: System error: No module named "
        "'mine' traceback: Traceback (most recent call last): ^^^^ ModuleNotFoundError: No module named 'mine'"
    )
    said = "ModuleNotFoundError: No module named 'mine'"
    assert Coroner(lambda: 0).death(words, None, here=True) == Death(UNMADE, said)


def test_a_worker_that_gave_itself_up_died_of_what_it_raised() -> None:
    words = (
        "1 ray::Worker.train() (pid=3) File 'search/trial.py', line 9, in step raise WorkerError(result['message']) "
        "search.errors.WorkerError: AcceleratorError: CUDA error: device-side assert triggered"
    )
    kills = iter([0, 1])  # and the kernel ended another process
    death = Coroner(lambda: next(kills)).death(words, None, here=True)
    assert death == Death("error", "AcceleratorError: CUDA error: device-side assert triggered")
    assert [verdict(death, 0, losses) for losses in (1, 2)] == [None, death.text]


def test_losses_count_in_a_row_without_one_more_epoch_and_never_for_a_machine_that_went_away() -> None:
    losses, lost = Losses(), Death("lost", "killed")
    assert [losses.count(0, epoch, lost) for epoch in (2, 2, 3, 4, 4, 4)] == [1, 2, 1, 1, 2, 3]
    assert [verdict(lost, 0, count) is None for count in (RETRIES, RETRIES + 1)] == [True, False]
    gone = Coroner(lambda: 0).death("The actor died because its node has died. Node Id: 3", None, here=False)
    assert [losses.count(1, 2, each) for each in (lost, gone, gone, gone, lost)] == [1, 1, 1, 1, 2]


def test_a_storage_that_gives_no_checkpoint_is_told_from_a_worker_that_died() -> None:
    words = (
        "1 ray.exceptions.RayTaskError(CheckpointAccessError): ray::Worker.train() (pid=3) OSError: [Errno 5] "
        "The above exception was the direct cause: lesion.errors.CheckpointAccessError: epoch-0002.ckpt cannot be "
        "read: [Errno 5] Input/output error"
    )
    died = Coroner(lambda: 0).death(words, None, here=True)
    assert died == Death("storage", "epoch-0002.ckpt cannot be read: [Errno 5] Input/output error")


def test_a_machine_that_cannot_fetch_the_data_is_told_whatever_error_of_a_library_its_words_end_with() -> None:
    said = "node-3: s3://bucket/tiny cannot be copied to /tmp/x: NoCredentialsError: Unable to locate credentials"
    words = (
        "1 ray.exceptions.RayTaskError(DataAccessError): ray::Worker.train() (pid=3) lesion.errors.DataError: "
        f"{said[8:]} The above exception was the direct cause: lesion.errors.DataAccessError: {said}"
    )
    assert Coroner(lambda: 0).death(words, None, here=True) == Death("storage", said)


def test_a_rank_that_died_is_a_worker_that_was_lost() -> None:
    words = (
        "1 ray.exceptions.RayTaskError(RankError): ray::Worker.train() (pid=3) RuntimeError: [pair.cc:547] Connection "
        "closed by peer The above exception was the direct cause: lesion.errors.RankError: the process of rank 1 ended "
        "by SIGKILL"
    )
    died = Coroner(lambda: 0).death(words, None, here=True)
    assert died == Death("lost", "the process of rank 1 ended by SIGKILL")
    kills = iter([0, 1])
    assert Coroner(lambda: next(kills)).death(words, None, here=True).failure == "out-of-host-memory"


def test_the_kernel_counts_in_the_control_group_or_everywhere(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 12\noom_kill 3\n")
    assert kernel_kills(tmp_path / "cgroup", vmstat) == 3
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    assert kernel_kills(tmp_path, vmstat) == 1
    assert kernel_kills(tmp_path / "cgroup", tmp_path / "nothing") == 0
