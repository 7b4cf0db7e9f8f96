"""The process that `drivers.start` starts: ``driver.py WORKSPACE PLAN``.

PLAN is JSON: `trials`, `epochs`, `scheduler` and `name` of the space, `budget` for more of its budget, `training` for
the class of the fake training, and `run` for more arguments of `run_study`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import fake_training
import pytest
from rungs import note_rungs

from search import run_study


def main(workspace: Path, plan: dict[str, Any]) -> None:
    """Run the search, and say where it is whenever that changes."""
    last = [""]

    def show(state: Any) -> None:
        ended = sum(state.counts.get(kind, 0) for kind in ("complete", "pruned", "failed"))
        line = f"state {ended} {json.dumps([(trial.number, trial.epoch) for trial in state.running])}"
        if line != last[0]:
            last[0] = line
            print(line, flush=True)

    fake_training.make_data(workspace)
    build = getattr(fake_training, plan.pop("training", "FakeTraining"))
    options = {"concurrent": 2, **plan.pop("run", {})}
    space = fake_training.make_space(workspace, **plan)
    with pytest.MonkeyPatch.context() as patch:
        note_rungs(patch)
        patch.setattr("search.study.show", lambda *_: "")  # figures take seconds (tests/search/test_artifacts.py)
        print(run_study(space, workspace, build=build, progress=show, **options).message, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
