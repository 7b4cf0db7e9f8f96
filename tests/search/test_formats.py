"""Ledgers of every form that was ever written open, are read, and go on; one of a form to come is refused.

The assets are dumps of ledgers that the code of their time made: a starting point that is complete, then pruned,
complete, failed, running after two epochs, half-asked, and a starting point that waits.
"""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.database import open_storage
from search.errors import LedgerError, StudyError
from search.formats import FORMAT, format_of, identity_in
from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.rows import best_row, row_of

ASSETS = Path(__file__).parents[1] / "assets"
IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})
STATES = ["complete", "pruned", "complete", "failed", "running", "running", "waiting"]


class Space:
    def sample(self, trial: Any) -> dict[str, Any]:
        loss = trial.suggest_categorical("loss", ["cross_entropy", "focal"])
        settings = {"image_size": 32, "loss": loss, "lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True)}
        if loss == "focal":
            settings["loss.focal.gamma"] = trial.suggest_float("loss.focal.gamma", 0.5, 3.0)
        return settings


@pytest.fixture(params=range(FORMAT + 1))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, str]:
    """The form and the URL of a ledger of each form there was."""
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.executescript((ASSETS / f"ledger-form-{request.param}.sql").read_text())
    connection.close()
    return request.param, f"sqlite:///{tmp_path / 'ledger.db'}"


def test_an_old_ledger_is_read_as_it_is(old: tuple[int, str]) -> None:
    form, url = old
    study = optuna.load_study(study_name="tiny", storage=open_storage(url))
    rows = [row_of(trial) for trial in study.get_trials()]
    assert (format_of(study.user_attrs), [row.state for row in rows]) == (form, STATES)
    identity = identity_in("tiny", study.user_attrs)
    assert identity.hash == IDENTITY.hash
    assert identity.key == (identity.id or IDENTITY.hash)
    assert rows[0].settings == {"image_size": 32, "loss": "focal", "lr": 0.001, "loss.focal.gamma": 1.5}
    assert (rows[0].value, list(rows[0].history), rows[0].metrics) == (0.535, [1, 2, 3], {"mean_auc": 0.535})
    assert (rows[3].failure, rows[3].value, rows[4].epoch) == ("non-finite", None, 2)
    best = best_row(rows, "maximize")
    assert best is not None
    assert best.number in (0, 2)


def test_an_old_ledger_goes_on_in_the_present_form(old: tuple[int, str]) -> None:
    _, url = old
    before = open_ledger(url, "tiny", IDENTITY, 8)
    key, rows = before.identity.key, before.rows()
    assert before.seed == 7
    assert format_of(before.study.user_attrs) == FORMAT
    ledger = open_ledger(url, "tiny", replace(IDENTITY, location="/elsewhere"), 8)
    adopted = ledger.reconcile()
    assert [(row.number, row.epoch) for row in adopted] == [(4, 2), (5, 0)]
    for row in (*(ledger.adopt(row, Space()) for row in adopted), ledger.ask(Space())):
        ledger.begin(row.number)
        ledger.finish(row.number, Ending("complete", 3, 0.5))
    after = ledger.rows()
    assert [row.state for row in after] == [state.replace("running", "complete") for state in STATES[:-1]] + [
        "complete"
    ]
    assert after[:4] == rows[:4]
    assert after[6].settings["lr"] == 0.005
    assert ledger.identity.key == key  # runs and checkpoints go by it


def test_an_old_ledger_refuses_other_data(old: tuple[int, str]) -> None:
    with pytest.raises(StudyError, match="other images or labels"):
        open_ledger(old[1], "tiny", replace(IDENTITY, data_hash="d2"), 7)


def test_a_newer_form_is_refused_in_words(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_ledger(url, "tiny", IDENTITY, 7)
    ledger.study.set_user_attr("format", FORMAT + 1)
    ledger.study.set_user_attr("identity", {"something": "else"})
    with pytest.raises(LedgerError, match=rf"newer lesion-search \(form {FORMAT + 1}.* up to {FORMAT}\): update"):
        open_ledger(url, "tiny", IDENTITY, 7)


def test_somebody_else_s_study_is_not_taken_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    optuna.create_study(storage=url, study_name="tiny").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(LedgerError, match="none of lesion-search's"):
        open_ledger(url, "tiny", IDENTITY, 7)


def test_a_study_whose_beginning_was_cut_short_begins(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    optuna.create_study(storage=url, study_name="tiny", direction="maximize").set_user_attr("seed", 3)
    assert open_ledger(url, "tiny", IDENTITY, 7).identity.id


def test_tables_of_another_optuna_are_refused_in_words(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    open_ledger(url, "tiny", IDENTITY, 7)
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    connection.close()
    with pytest.raises(LedgerError, match=r"(?s)cannot open the ledger: .*optuna"):
        open_storage(url)
