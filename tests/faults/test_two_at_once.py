"""Two processes that want the same: to drive one study, to promote one model. One of them does it, once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_study import NO_GATES, searched, workspace_with_data
from drivers import NEIGHBOURS, start, wait_for
from state_files import unknown_files
from whole import require_whole

from lesion.data.packed import open_data
from search import promote
from search.moves import aliases_of
from search.openings import Openings, openings, part_of
from search.registered import KEY, Registry
from search.space import Asha
from search.versions import history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{NEIGHBOURS}:{os.environ.get('PYTHONPATH', '')}"}
PROMOTE = """
import sys
from drawn_study import NO_GATES
from search import promote
print(promote("drawn", sys.argv[1], views=1, gates=NO_GATES).message)
"""


def test_two_drivers_on_one_sqlite_ledger(tmp_path: Path) -> None:
    first = start(tmp_path, wait=0.5, trials=3, epochs=4, scheduler="{asha: {grace: 1, reduction: 2}}")
    wait_for(lambda: first.running)
    os.kill(first.process.pid, signal.SIGSTOP)  # so that it has not ended before the second has begun
    command = [sys.executable, "-m", "search.cli", "run", str(tmp_path / "tiny.yaml"), "--workspace", str(tmp_path)]
    second = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    os.kill(first.process.pid, signal.SIGCONT)
    assert second.returncode == 1, second.stderr
    assert f"being driven already by process {first.process.pid}" in second.stderr
    assert first.process.wait(250) == 0, first.said
    status = require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2))
    assert [row.attempt for row in status.rows] == [1, 1, 1]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_two_promotions_of_one_model_and_the_same_again(tmp_path: Path) -> None:
    place = workspace_with_data(tmp_path)
    searched(place, open_data(place.path, "drawn"), states=("complete",))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(place.path)],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=350) for process in both]
    finally:
        for process in both:
            process.kill()
    codes = [process.returncode for process in both]
    assert 0 in codes, said
    for code, (out, err) in zip(codes, said, strict=True):
        # Refused; or, where the first was done by then, told what there is.
        refused = "is being promoted, or rolled back, by another process" in err
        assert refused if code else "drawn version 1 (" in out, (out, err)
    # And once more by itself: what was promoted is not promoted again.
    again = promote("drawn", place, views=1, gates=NO_GATES)
    assert (again.repeated, again.version) == (True, 1)
    registry = Registry(place.tracking_uri, place.artifacts)
    assert [version.number for version in history("drawn", place).versions] == [1]
    assert aliases_of(registry, "drawn") == {"champion": 1}
    assert len(history("drawn", place).moves) == 1
    assert openings(place, "drawn", part_of(place, "drawn")) == Openings(1)
    runs = registry.client.search_runs([registry.client.get_experiment_by_name("drawn").experiment_id])
    assert [run.info.status for run in runs if KEY in run.data.tags] == ["FINISHED"]
    assert [*unknown_files(place.path)] == []
