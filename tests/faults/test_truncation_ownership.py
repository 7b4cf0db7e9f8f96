"""The note of whose trials a folder holds, cut at random offsets: never believed to be of one ledger alone."""

from pathlib import Path
from typing import Any

import pytest
from cuts import cuts

from lesion.checkpoints import save
from search.doctor import examine
from search.identity import Identity
from search.ledger import open_ledger
from search.ownership import OWN, ledger_name, ledgers_of, note_ledger, note_of
from search.workspace import open_workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})


def test_note_of_the_ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("of_spool", "of_runs", "of_promotions"):
        monkeypatch.setattr(f"search.doctor.{name}", lambda *arguments: ())
    place = open_workspace(tmp_path / "workspace")
    open_ledger(place.ledger_url, "tiny", IDENTITY, 7)
    names: list[Any] = []
    for url in ("", f"sqlite:///{tmp_path / 'elsewhere.db'}"):
        monkeypatch.setenv("LESION_LEDGER", url)
        note_ledger(place, "other")
        names.append(ledger_name(place))
    monkeypatch.setenv("LESION_LEDGER", "")
    save({"epoch": 1}, place.trial("other", 0))
    for offset in cuts(note_of(place, "other"), 12):
        assert OWN not in ledgers_of(place, "other"), offset
        [finding] = examine(place, fix=True).findings
        assert (finding.kind, finding.mended) == ("checkpoints of no study", False), offset
    assert list(ledgers_of(place, "other")) == names == [OWN, names[1]]
