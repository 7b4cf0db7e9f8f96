"""Many trials: spaces, the ledger, Ray Tune, MLflow, promotion. What the command does is a call here.

>>> from search import run_study, promote        # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.doctor import Examination, examine
    from search.finalists import FinalistsResult, run_finalists
    from search.promotion import promote
    from search.reporting import report
    from search.reporting.comparison import compare
    from search.reporting.effects import component_effects
    from search.study import StudyResult, StudyStatus, run_study, studies, study_status, sync
    from search.versions import history, rollback

__all__ = [
    "Examination",
    "FinalistsResult",
    "StudyResult",
    "StudyStatus",
    "compare",
    "component_effects",
    "examine",
    "history",
    "promote",
    "report",
    "rollback",
    "run_finalists",
    "run_study",
    "studies",
    "study_status",
    "sync",
]

# MLflow reports its use to its makers unless told not to: nobody's business here, and it delays every exit by
# seconds on a machine without the network. It reads this when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_HOMES = {
    "Examination": "search.doctor",
    "FinalistsResult": "search.finalists",
    "compare": "search.reporting.comparison",
    "component_effects": "search.reporting.effects",
    "examine": "search.doctor",
    "history": "search.versions",
    "promote": "search.promotion",
    "report": "search.reporting",
    "rollback": "search.versions",
    "run_finalists": "search.finalists",
}


def __getattr__(name: str) -> Any:
    # Ray and MLflow take seconds to import; `search.space` and `search.errors` are wanted without them.
    if name not in __all__:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(_HOMES.get(name, "search.study")), name)
