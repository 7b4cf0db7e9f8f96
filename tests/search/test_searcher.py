from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.budget import Purse
from search.errors import LedgerError, TrialError
from search.fence import SupersededError, require_latest
from search.identity import Identity
from search.ledger import Ending, Ledger, open_ledger
from search.mirror import ended as ended_event
from search.results import ending_of
from search.rows import TrialRow
from search.searcher import LedgerSearcher, ReplayedAsha, Told, scheduler_for
from search.seats import Alike
from search.space import Asha
from search.trial import Job, Order, Worker
from search.watchdog import RETRIES, Death

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"epochs": 9})


class Line:
    def sample(self, trial: Any) -> dict[str, float]:
        return {"lr": trial.suggest_float("lr", 0.0, 1.0)}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "tiny", IDENTITY, 7)


@pytest.fixture
def told() -> list[Told]:
    return []


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def searcher(ledger: Ledger, told: list[Told], target: int = 2) -> LedgerSearcher:
    job = Job("tiny", "i1", Path("data"), None, "mean_auc", 3, Path("checkpoints"), None)  # type: ignore[arg-type]
    return LedgerSearcher(
        ledger, Line(), job, Alike(2, 1, 0.5), target=target, adopted=ledger.reconcile(), tell=told.append,
        run_of=lambda n: f"run{n}",
    )  # fmt: skip


def result(epoch: int, value: float = 0.5, **more: Any) -> dict[str, Any]:
    spent = {"seconds": 1.0 * epoch, "device_seconds": 2.0 * epoch, "examples": 6 * epoch}
    return {"epoch": epoch, "value": value, "metrics/mean_auc": value, "metrics/ece": 0.1, **spent, **more}


def test_new_trials_until_the_target(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    orders = [ask.suggest(name) for name in "ab"]
    assert [order["order"].number for order in orders if order] == [0, 1]
    assert ask.suggest("c") is None  # one of them may need another of Ray's trials
    assert ledger.row(1).attributes["ray_trial"] == "b"
    assert [(t.what, t.row.number) for t in told] == [("started", 0), ("started", 1)]
    for name in "ab":
        ask.on_trial_complete(name, result(3))
    assert ask.suggest("c") == "FINISHED"


def test_a_trial_that_ray_gives_up_goes_on_as_another_of_rays(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told, target=1)
    ask.suggest("a")
    ask.on_trial_result("a", result(1))
    ask.on_trial_complete("a", error=True)
    ask.died("a", Death("lost", "unavailable"), last=True)
    row = ledger.row(0)
    assert (row.state, row.attempt, ask.seats.in_use()["GPU"]) == ("running", 1, 0)
    taken = ask.suggest("b")
    assert taken is not None
    assert (taken["order"].number, taken["order"].reported, ledger.row(0).attempt) == (0, 1, 2)
    assert ask.seats.in_use()["GPU"] == 0.5
    # Each time a worker that had ended another trial: whatever became of it, this one is not to blame.
    for name in "bcdef":
        ask.died(name, Death("lost", "unavailable"), last=True)
        ask.suggest(chr(ord(name) + 1))
    assert (ledger.row(0).state, ledger.row(0).attempt) == ("running", 7)


def test_a_trial_gets_a_seat_and_leaves_it(ledger: Ledger, told: list[Told], monkeypatch: pytest.MonkeyPatch) -> None:
    ask = searcher(ledger, told)
    taken = ask.suggest("a")
    assert taken is not None
    assert (taken["job"].threads, taken["job"].gpus) == (1, 0.5)
    assert Worker.default_resource_request(taken).required_resources == {"CPU": 1, "GPU": 0.5}
    assert ask.seats.in_use()["GPU"] == 0.5
    ask.on_trial_complete("a", result(3))
    assert ask.seats.in_use()["GPU"] == 0
    monkeypatch.setattr(Alike, "full", True)
    assert ask.suggest("b") is None
    assert len(ledger.rows()) == 1


def test_adopted_rows_come_first_and_count(ledger: Ledger, told: list[Told]) -> None:
    searcher(ledger, told).suggest("a")
    ledger.report(0, 1, 0.5)
    ask = searcher(ledger, told)
    first, second = ask.suggest("b"), ask.suggest("c")
    assert first is not None
    assert second is not None
    assert (first["order"].number, first["order"].reported, second["order"].number) == (0, 1, 1)
    assert ask.suggest("d") is None


@pytest.mark.parametrize(
    ("last", "state", "value"),
    [
        (result(3, 0.75), "complete", 0.75),
        (result(2, 0.25), "pruned", 0.25),
        (result(1, failure="non-finite", message="the loss is nan"), "failed", None),
    ],
)
def test_endings(ledger: Ledger, told: list[Told], last: dict[str, Any], state: str, value: float | None) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    ask.on_trial_result("a", result(1))
    ask.on_trial_complete("a", last)
    row = ledger.row(0)
    assert (row.state, row.value, row.history[1]) == (state, value, 0.5)
    assert (row.examples, row.metrics["ece"], row.attributes["mlflow_run"]) == (last["examples"], 0.1, "run0")
    assert told[-1].what == "ended"


def test_a_lost_worker_is_another_attempt_and_at_last_a_failure(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    ask.on_trial_result("a", result(1))
    for _ in range(RETRIES):
        order = ask.died("a", Death("lost", "killed"), last=False)
        assert (order.reported, order.seconds, order.device_seconds) == (1, 1.0, 2.0)
    ask.on_trial_complete("a", error=True)
    assert ledger.row(0).state == "running"
    assert ask.died("a", Death("lost", "killed"), last=False).over
    row = ledger.row(0)
    assert (row.state, row.failure, row.attempt, row.epoch) == ("failed", "lost", 3, 1)
    assert row.message == "its worker died 3 times without one more epoch; at last: killed"
    ask.on_trial_complete("a", {"epoch": 1, "over": True})  # what the next worker says about it
    assert ledger.row(0) == row


def test_a_trial_that_comes_further_may_lose_any_number_of_workers(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    for epoch in (1, 2):
        ask.on_trial_result("a", result(epoch))
        for _ in range(RETRIES):
            assert not ask.died("a", Death("lost", "killed"), last=False).over
    for _ in range(9):
        assert not ask.died("a", Death("lost", "its machine went away", of_node=True), last=False).over
    ask.on_trial_result("a", result(3))
    assert ledger.row(0).state == "running"


def test_a_hung_trial_gets_one_more_worker(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    ask.on_trial_result("a", result(1))
    assert not ask.died("a", Death("hung", "silence"), last=False).over
    ask.on_trial_result("a", result(2))
    assert ask.died("a", Death("hung", "silence"), last=False).over
    row = ledger.row(0)
    assert (row.failure, row.message, row.hangs) == ("hung", "it hung 2 times; at last: silence", 2)
    assert (row.seconds, row.device_seconds) == (
        2.0,
        4.0,
    )  # noted with every epoch: nothing of the failed trial is left out of a budget


def test_the_time_of_a_worker_that_died_is_not_for_free(ledger: Ledger, told: list[Told]) -> None:
    """It is the trial's, is in a budget at once, and is told to the next worker, which adds its epochs to it."""
    ask = searcher(ledger, told)
    ask.suggest("a")
    ask.on_trial_result("a", result(1))
    purse = Purse(None, 60.0, ledger.rows())
    order = ask.died("a", Death("hung", "silence", seconds=100.0), last=False)
    purse.heard(told[-1].row)
    assert (told[-1].what, order.seconds, order.device_seconds) == ("retried", 101.0, 52.0)  # half a GPU
    assert (purse.device_seconds, purse.empty()) == (52.0, None)
    assert ask.died("a", Death("hung", "silence", seconds=20.0), last=False).over
    purse.heard(told[-1].row)
    assert (ledger.row(0).seconds, purse.empty()) == (121.0, "device_hours")


def test_every_attempt_fences_the_one_before_off(ledger: Ledger, told: list[Told], tmp_path: Path) -> None:
    ask = searcher(ledger, told)
    taken = ask.suggest("a")
    assert taken is not None
    folder, first = taken["job"].folder / "0", taken["order"].attempt
    require_latest(folder, first)
    second = ask.died("a", Death("lost", "its raylet died"), last=False).attempt
    require_latest(folder, second)
    with pytest.raises(SupersededError, match="of attempt 2 of a by now, this is 1 of a"):
        require_latest(folder, first)
    # A ledger restored from a copy, or begun anew, counts from 1 again.
    again = open_ledger(f"sqlite:///{tmp_path / 'anew.db'}", "tiny", IDENTITY, 7)
    third = searcher(again, told).suggest("b")
    assert third is not None
    require_latest(folder, third["order"].attempt)
    with pytest.raises(SupersededError):
        require_latest(folder, second)


def test_two_sessions_in_one_folder_are_told_apart(ledger: Ledger, told: list[Told]) -> None:
    """Each with a ledger of its own, so that no lock keeps them from each other."""
    ask = searcher(ledger, told)
    ask.suggest("a")
    ask.on_trial_complete("a", {"number": 0, "epoch": 0, "over": True, "superseded": True, "done": True})
    assert "another session has begun trial 0 in checkpoints" in str(ask.problem)
    assert ledger.row(0).state == "running"


def test_a_storage_that_does_not_answer_fails_no_trial(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    for _ in range(RETRIES):
        assert not ask.died("a", Death("storage", "epoch-0001.ckpt cannot be read"), last=False).over
    assert ask.died("a", Death("storage", "epoch-0001.ckpt cannot be read"), last=False).over
    said = (
        "trial 0 cannot go on: epoch-0001.ckpt cannot be read. No trial is lost: mend it and the same command goes on"
    )
    assert str(ask.problem) == said
    assert (ledger.row(0).state, ledger.row(0).attempt) == ("running", 3)


def test_memory_that_ran_out_is_not_tried_again(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    assert ask.died("a", Death("out-of-host-memory", "Ray ended it"), last=False).over
    assert (ledger.row(0).failure, ledger.row(0).attempt) == ("out-of-host-memory", 1)
    assert ask.died("a", Death("lost", "and the next worker as well"), last=True).over
    assert (ask.problem, ledger.row(0).failure) == (None, "out-of-host-memory")


def test_damage_of_every_attempt_is_kept_and_told_once(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")
    ask.on_trial_result("a", result(1, damage="epoch-0002.ckpt is damaged"))
    ask.died("a", Death("lost", "killed"), last=False)
    ask.on_trial_result("a", result(2, damage="epoch-0002.ckpt is damaged"))
    ask.on_trial_complete("a", result(3, damage="epoch 3 was not saved"))
    assert ledger.row(0).damage == "epoch-0002.ckpt is damaged; epoch 3 was not saved"
    assert ended_event(ledger.row(0))["tags"]["lesion.damage"] == ledger.row(0).damage


def test_an_error_of_the_ledger_ends_the_session(
    ledger: Ledger, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = searcher(ledger, told)
    ask.suggest("a")

    def refuse(*arguments: Any, **noted: Any) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(ledger, "report", refuse)
    ask.on_trial_result("a", result(1))
    assert str(ask.problem) == "the disk is full"
    # From now on nothing is written and nothing asked: the session ends at its next step.
    monkeypatch.undo()
    ask.on_trial_result("a", result(2)), ask.on_trial_complete("a", result(3))
    assert ask.suggest("b") == "FINISHED"
    assert ask.died("a", Death("lost", "killed"), last=True).over
    assert (ledger.row(0).state, ledger.row(0).history) == ("running", {})


def fails(ask: LedgerSearcher, name: str, message: str, epoch: int = 0) -> None:
    ask.suggest(name)
    ask.on_trial_complete(name, result(epoch, failure="error", message=message))


def test_trials_that_fail_alike_before_their_first_epoch_end_the_session(ledger: Ledger, told: list[Told]) -> None:
    ask = searcher(ledger, told, target=99)
    for name in range(4):
        fails(ask, f"a{name}", f"DataError: the draws cannot be kept in '/cache/{name}': no space left")
    fails(ask, "b", "DataError: the draws cannot be kept: no space left", epoch=1)  # it could begin
    for name in range(4):
        fails(ask, f"c{name}", f"DataError: /cache/draws-{name}.npz cannot be kept: no space left")
    fails(ask, "d", "ValueError: its settings are wrong")
    assert ask.problem is None
    for name in range(4):
        fails(ask, f"e{name}", f"ValueError: {name} images are too few")
    ask.suggest("e4")
    for _ in range(2):
        ask.died("e4", Death("error", "ValueError: 4 images are too few"), last=False)
    assert isinstance(ask.problem, TrialError)
    assert "the trials 10, 11, 12, 13, 14 failed one after the other" in str(ask.problem)
    assert "with the same error: ValueError: 4 images are too few. What they share must be" in str(ask.problem)
    assert ask.suggest("f") == "FINISHED"
    assert [row.state for row in ledger.rows()] == ["failed"] * 15
    assert len([each for each in told if each.what == "ended"]) == 15


def ended(number: int, history: dict[int, float], state: str) -> TrialRow:
    epoch = max(history, default=0)
    return TrialRow(number, state, history.get(epoch), epoch, {}, history, {})


def ray_trial(number: int) -> Any:
    return SimpleNamespace(trial_id=f"t{number}", config={"order": Order(number, 0)})


def live(asha: ReplayedAsha, values: dict[int, list[float]]) -> list[TrialRow]:
    """Trials run one after the other; what a ledger would hold of them."""
    rows = []
    for number, curve in values.items():
        trial, history = ray_trial(number), {}
        asha.on_trial_add(None, trial)
        for epoch, value in enumerate(curve, 1):
            history[epoch] = value
            told = {"epoch": epoch, "value": value}
            if epoch == 9 or asha.on_trial_result(None, trial, told) == "STOP":
                asha.on_trial_complete(None, trial, told)
                break
        rows.append(ended(number, history, "complete" if max(history) == 9 else "pruned"))
    return rows


CURVES = {n: [((n * 37) % 11) / 11 + epoch / 100 for epoch in range(9)] for n in range(10)}


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_replayed_rungs_are_those_of_an_uninterrupted_session(direction: str) -> None:
    whole = ReplayedAsha(Asha(1, 3), 9, direction, [])
    rows = live(whole, CURVES)
    assert {row.state for row in rows} == {"complete", "pruned"}
    replayed = ReplayedAsha(Asha(1, 3), 9, direction, rows)
    assert replayed.rungs() == whole.rungs()
    assert set(whole.rungs()) == {1, 3, 9}


def test_a_resumed_trial_is_judged_at_its_own_epochs() -> None:
    rows = [ended(n, dict(enumerate([0.2, 0.3, 0.9], 1)), "pruned") for n in range(4)]
    left = ended(9, dict(enumerate([0.2, 0.25, 0.3, 0.35, 0.4], 1)), "running")
    asha = ReplayedAsha(Asha(1, 3), 9, "maximize", [*rows, left])
    trial = ray_trial(9)
    asha.on_trial_add(None, trial)
    assert asha.on_trial_result(None, trial, {"epoch": 6, "value": 0.45}) == "CONTINUE"
    assert 0.3 in asha.rungs()[3]
    stranger = ray_trial(10)
    asha.on_trial_add(None, stranger)
    assert asha.on_trial_result(None, stranger, {"epoch": 3, "value": 0.45}) == "STOP"


def test_a_failed_trial_leaves_the_rungs_as_they_were() -> None:
    asha = ReplayedAsha(Asha(1, 3), 9, "maximize", [ended(0, {1: 0.5}, "failed")])
    trial = ray_trial(1)
    asha.on_trial_add(None, trial)
    asha.on_trial_complete(None, trial, {"epoch": 0, "failure": "error"})
    assert asha.rungs()[1] == [0.5]


def test_no_scheduler_is_first_come_first_served() -> None:
    assert type(scheduler_for(None, 9, "maximize", [])).__name__ == "FIFOScheduler"
    assert isinstance(scheduler_for(Asha(4, 2), 3, "maximize", []), ReplayedAsha)


def test_ended_rows_without_any_epoch_are_replayable(ledger: Ledger) -> None:
    ledger.ask(Line())
    ledger.finish(0, Ending("failed", 0, failure="error", message="x"))
    assert ReplayedAsha(Asha(1, 3), 9, "maximize", ledger.rows()).rungs()[1] == []


def test_a_training_that_stopped_by_itself_is_complete() -> None:
    result = {"epoch": 3, "value": 0.5, "over": False}
    assert ending_of(result, 9).state == "pruned"
    assert ending_of({**result, "over": True}, 9).state == "complete"
    assert ending_of({**result, "epoch": 9}, 9).state == "complete"
