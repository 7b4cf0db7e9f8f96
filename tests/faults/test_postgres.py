"""The ledger on a real PostgreSQL server: as on SQLite, through restarts, and with one driver among several hosts."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import finish, start, wait_for
from postgres import Server, served
from whole import failures, require_whole

from search.database import Patience
from search.errors import LedgerAccessError, LedgerError
from search.identity import Identity
from search.ledger import Ending, Ledger, open_ledger
from search.locks import driver_elsewhere, driving, is_driven
from search.space import Asha

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})
TRIALS = 10
ASHA = "{asha: {grace: 1, reduction: 2}}"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HOLDER = """
import sys, time
from pathlib import Path
from search.locks import driving
with driving(Path(sys.argv[1]), "tiny", sys.argv[2]):
    print("driving", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served() as server:
        yield server


class Line:
    """A space of two numbers; `wait` seconds lie between them."""

    def __init__(self, wait: float = 0.0) -> None:
        self.wait = wait

    def sample(self, trial: Any) -> dict[str, float]:
        lr = trial.suggest_float("lr", 0.0, 1.0)
        time.sleep(self.wait)
        return {"lr": lr, "gamma": trial.suggest_float("gamma", 0.0, 3.0)}


def search(ledger: Ledger, space: Line, wait: float = 0.0) -> None:
    """A session with one worker, whose epochs take `wait` seconds."""
    adopted = ledger.reconcile()
    while adopted or len(ledger.rows()) < TRIALS:
        row = ledger.adopt(adopted.pop(0), space) if adopted else ledger.ask(space)
        ledger.begin(row.number)
        for epoch in range(row.epoch + 1, 4):
            time.sleep(wait)
            value = float(row.settings["lr"]) * (1 - 0.5**epoch)
            if epoch == 3 or (epoch == 2 and value < 0.3):
                ledger.finish(row.number, Ending("complete" if epoch == 3 else "pruned", epoch, value))
                break
            ledger.report(row.number, epoch, value)


def outcome(url: str) -> list[tuple[Any, ...]]:
    rows = open_ledger(url, "tiny", IDENTITY, 7).rows()
    return [(r.number, r.state, dict(r.settings), dict(r.history), r.value, r.seed, r.attempt) for r in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """What the search comes to on SQLite, undisturbed."""
    url = f"sqlite:///{tmp_path_factory.mktemp('whole') / 'ledger.db'}"
    search(open_ledger(url, "tiny", IDENTITY, 7), Line())
    return outcome(url)


def test_a_server_holds_what_a_file_would(server: Server, whole: list[Any]) -> None:
    url = server.make("same")
    search(open_ledger(url, "tiny", IDENTITY, 7), Line())
    assert outcome(url) == whole
    with pytest.raises(LedgerError, match="epochs: was 3, is 4"):
        open_ledger(url, "tiny", Identity(**{**IDENTITY.to_json(), "semantics": {"epochs": 4}}), 7)


def test_a_server_restarted_again_and_again_under_a_search(
    server: Server, whole: list[Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    url = server.make("restarted")
    with driving(tmp_path / "tiny.lock", "tiny", url) as hold:
        ledger = open_ledger(url, "tiny", IDENTITY, 7)
        ledger.guard = hold.confirm
        worker = threading.Thread(target=search, args=(ledger, Line(wait=0.02), 0.02))
        worker.start()
        restarts = 0
        while worker.is_alive() and restarts < 3:
            server.stop("immediate")
            time.sleep(0.3)
            server.start()
            restarts += 1
            worker.join(timeout=0.5)
        worker.join()
        hold.confirm()
        assert driver_elsewhere("tiny", url)
    assert restarts >= 2
    assert "the ledger answers again" in caplog.text
    assert outcome(url) == whole


def test_a_server_that_stays_away_ends_the_session_in_words(server: Server, tmp_path: Path) -> None:
    url = server.make("away")
    ledger = open_ledger(url, "tiny", IDENTITY, 7)
    row = ledger.ask(Line())
    server.stop()
    try:
        ledger.patience = Patience(seconds=1.0)
        with pytest.raises(LedgerAccessError, match=r"cannot write to the ledger: .*again once it answers"):
            ledger.report(row.number, 1, 0.5)
        began = time.monotonic()
        with pytest.raises(LedgerAccessError):
            ledger.report(row.number, 1, 0.5)  # given up: the session's end does not wait again
        ledger.patience = Patience(hurried=lambda: True)  # Ctrl-C
        with pytest.raises(LedgerAccessError):
            ledger.report(row.number, 1, 0.5)
        assert time.monotonic() - began < 30
    finally:
        server.start()
    ledger.patience = Patience()
    ledger.report(row.number, 1, 0.5)
    [adopted] = open_ledger(url, "tiny", IDENTITY, 7).reconcile()
    assert (adopted.number, dict(adopted.history)) == (0, {1: 0.5})


def test_drivers_on_two_hosts_exclude_each_other(server: Server, tmp_path: Path) -> None:
    url = server.make("shared")
    here, there = tmp_path / "here.lock", tmp_path / "there.lock"  # workspaces that do not share a disk
    command = [sys.executable, "-c", HOLDER, str(there), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "driving\n"
            with (
                pytest.raises(LedgerAccessError, match=rf"driven already by process {other.pid} on .+ since \d\d-"),
                driving(here, "tiny", url),
            ):
                pass
            assert is_driven(here, "tiny", url)
            with driving(tmp_path / "another.lock", "another", url):  # another study is another lock
                pass
        finally:
            other.kill()
            other.wait()
        deadline = time.monotonic() + 60
        while is_driven(here, "tiny", url):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with driving(here, "tiny", url):
            assert is_driven(there, "tiny", url)


def test_who_lost_its_lock_with_the_server_takes_it_again_or_stops(server: Server, tmp_path: Path) -> None:
    url = server.make("lost")
    with driving(tmp_path / "a.lock", "tiny", url) as first:
        server.stop("immediate")
        server.start()
        first.confirm()
        with pytest.raises(LedgerAccessError, match="driven already"), driving(tmp_path / "b.lock", "tiny", url):
            pass
        first.release()  # as when the host was cut off, and the server noticed
        with driving(tmp_path / "b.lock", "tiny", url):
            ledger = open_ledger(url, "tiny", IDENTITY, 7)
            ledger.guard = first.confirm
            with pytest.raises(LedgerAccessError, match="driven already"):
                ledger.ask(Line())
            assert ledger.rows() == []
            other = open_ledger(url, "tiny", IDENTITY, 7)
            search(other, Line())
        first.release()  # and noticed once the other driver had ended the study
        assert ledger.ask(Line(), TRIALS) is None
        assert len(ledger.rows()) == TRIALS


def test_a_real_search_with_its_server_restarted_under_it(server: Server, tmp_path: Path) -> None:
    url = server.make("real")
    environment, plan = {"LESION_LEDGER": url}, {"epochs": 3, "scheduler": ASHA}
    driver = start(tmp_path, wait=0.5, environment=environment, trials=4, **plan)
    wait_for(lambda: driver.running)
    server.stop("immediate")
    wait_for(lambda: "it is asked again" in driver.said)
    server.start()
    assert driver.process.wait(250) == 0, driver.said
    assert "the ledger answers again" in driver.said
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_LEDGER", url)
        status = require_whole(tmp_path, trials=4, epochs=3, asha=Asha(1, 2))
    assert failures(status) == {}
    assert {row.attempt for row in status.rows} == {1}  # no trial noticed

    killed = start(tmp_path, wait=1.5, environment=environment, trials=6, **plan)
    wait_for(lambda: any(killed.running.values()))
    killed.kill()
    finish(tmp_path, environment=environment, trials=6, **plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_LEDGER", url)
        status = require_whole(tmp_path, trials=6, epochs=3, asha=Asha(1, 2))
    assert failures(status) == {}
    attempts = [row.attempt for row in status.rows]
    assert (attempts[:4], max(attempts[4:])) == ([1] * 4, 2)
    assert not (tmp_path / "ledger.db").exists()
