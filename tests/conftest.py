"""What tests of both packages share: real images where they are at hand."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

LONGEST = (
    "cluster/test_cluster.py", "test_benchmarks.py", "faults/test_mlflow.py", "faults/test_workers.py",
    "faults/test_driver.py", "faults/test_signals.py", "test_demo.py", "faults/test_gcs.py", "contracts/test_spaces.py",
    "search/test_study.py", "test_training.py", "faults/test_nodes.py", "faults/test_disks.py",
    "faults/test_interruptions.py", "faults/test_data_changed.py", "faults/test_autoscaler.py",
    "search/test_promotion_gates.py", "test_parallel.py",
)  # fmt: skip
"""Files that take minutes, longest first: several run at a time, and what begins last must not hold up the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; all else stays in its order."""
    order = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what the tests of faults and of the cluster took: each is to stay under ten minutes of the whole run."""
    reports = [each for kind in terminalreporter.stats.values() for each in kind if hasattr(each, "duration")]
    beside = max(1, getattr(config.option, "numprocesses", None) or 1)
    for folder in ("tests/faults", "tests/cluster"):
        seconds = sum(each.duration for each in reports if each.nodeid.startswith(folder))
        if seconds > 60.0:
            share = f", {seconds / 60 / beside:.1f} minutes of {beside} that run at a time" if beside > 1 else ""
            terminalreporter.write_line(f"{folder}: {seconds / 60:.1f} minutes{share}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real images: $LESION_SHARED, or ``../shared`` beside the checkout; the test is skipped without."""
    folder = Path(os.environ.get("LESION_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real images: {folder}/data is not there (set LESION_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def _nobody_else_s_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may write to the workspace, ledger or tracking server of whoever runs it."""
    for name in ("LESION_WORKSPACE", "LESION_LEDGER", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _nobody_else_s_memory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `check` remembers in the cache folder of whoever runs the tests is neither believed nor added to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "caches" / secrets.token_hex(8)))


@pytest.fixture(autouse=True)
def _wide_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed does not depend on the terminal of whoever runs the tests."""
    monkeypatch.setenv("COLUMNS", "120")
