"""A process that writes trials to a ledger as fast as it takes them, for `test_truncation_journal.py` to freeze.

``writer.py WORKSPACE``. A number in the file ``ended`` is that of a trial whose ending the ledger has confirmed.
"""

import sys
from pathlib import Path
from typing import Any

from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.workspace import Workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 2})


class Line:
    """A space of one number."""

    def sample(self, trial: Any) -> dict[str, Any]:
        """One setting."""
        return {"optimizer.adamw.lr": trial.suggest_float("optimizer.adamw.lr", 0.001, 0.002)}


def main(place: Workspace) -> None:
    """Write until killed."""
    ledger = open_ledger(place.ledger_url, "tiny", IDENTITY, 7)
    ledger.sampler = "random"
    with (place.path / "ended").open("a") as ended:
        while True:
            row = ledger.ask(Line())
            ledger.begin(row.number)
            for epoch in (1, 2):
                ledger.report(row.number, epoch, epoch / 4)
            ledger.finish(row.number, Ending("complete", 2, 0.5))
            print(row.number, file=ended, flush=True)


if __name__ == "__main__":
    main(Workspace(Path(sys.argv[1])))
