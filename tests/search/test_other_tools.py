"""The ledger is an Optuna study: Optuna alone reads it, and so does what is built on Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from search.identity import Identity
from search.ledger import Ending, open_ledger


class Line:
    """A space of one number."""

    def sample(self, trial: Any) -> dict[str, float]:
        return {"lr": trial.suggest_float("lr", 0.0, 1.0), "image_size": 32}


def test_optuna_s_own_tools_read_the_ledger_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    identity = Identity("tiny", "d", "holdout", "s", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 2})
    ledger = open_ledger(url, "tiny", identity, 7)
    for ending in (Ending("complete", 2, 0.9), Ending("pruned", 2, 0.4), Ending("failed", 2)):
        row = ledger.ask(Line())
        ledger.report(row.number, 1, 0.1)
        ledger.report(row.number, 2, 0.2 if ending.value is None else ending.value)
        ledger.finish(row.number, ending)
    storage = optuna.storages.RDBStorage(url)  # nothing of ours: as optuna-dashboard opens it
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.study_name == "tiny"
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert study.best_trial.number == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    for trial, row, last in zip(study.trials, ledger.rows(), (0.9, 0.4, 0.2), strict=True):
        assert trial.params == {"lr": row.settings["lr"]}  # what a space fixes is no parameter
        assert trial.intermediate_values == {1: 0.1, 2: last}
    assert study.trials[0].value == 0.9
    storage.engine.dispose()
