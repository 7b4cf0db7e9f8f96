"""Every kind of file that searches, promotions and downloads leave in a workspace, and the test that cuts each.

A file of no kind is one that nobody has cut: `unknown_files` names it, and every test that looks whether a search is
whole fails (`whole.left_behind`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

FOLDERS = ("data", "test", "checkpoints", "cache", "spool", "reports", "locks", "ray", "source")
CUT = {
    "ledger.db": "test_truncation.py::test_ledger",
    "ledger.db-journal": "test_truncation_journal.py::"
    "test_the_journal_of_a_driver_killed_in_a_write_cut_at_random_offsets",
    "mlflow.db": "test_truncation_mirror.py::test_every_cut_through_the_database_of_mlflow_is_told",
    "spool/*.jsonl": "test_truncation.py::test_spool",
    "spool/*.rejected": "test_truncation.py::test_what_mlflow_refused",
    "checkpoints/*/[0-9]*/epoch-*.ckpt": "test_truncation.py::test_checkpoint",
    "checkpoints/*/[0-9]*/attempt": "test_truncation.py::test_note_of_the_latest_attempt",
    "checkpoints/*/[0-9]*/predictions.npz": "test_truncation.py::test_predictions",
    "checkpoints/*/ledgers.json": "test_truncation_ownership.py::test_note_of_the_ledgers",
    "cache/images-*.json": "test_truncation_data.py::test_what_the_images_of_a_study_were",
    "cache/verified-*.json": "test_truncation.py::test_note_of_what_was_verified",
    "cache/footprints/*.json": "test_truncation.py::test_footprints",
    "cache/draws-*.npz": "test_truncation_data.py::test_kept_draws",
    "cache/features/*/maps.npy": "test_truncation_data.py::test_feature_maps",
    "cache/features/*/manifest.json": "test_truncation_data.py::test_feature_maps",
    "data/*/manifest.json": "test_truncation.py::test_packed_data",
    "data/*/table.parquet": "test_truncation.py::test_packed_data",
    "data/*/images.npy": "test_truncation.py::test_packed_data",
    "test/*/manifest.json": "test_truncation.py::test_packed_data",
    "test/*/table.parquet": "test_truncation.py::test_packed_data",
    "test/*/images.npy": "test_truncation.py::test_packed_data",
    "locks/*.json": "test_truncation.py::test_locks",
    "reports/*/tested-*.npy": "test_truncation.py::test_test_probabilities",
    "reports/*/tested-*.json": "test_truncation_data.py::test_of_which_test_part_kept_probabilities_are",
    "reports/*/promotion-*/selection.json": "test_truncation_promotion.py::test_the_report_of_a_promotion",
    "reports/*/promotion-*/metrics.json": "test_truncation_promotion.py::test_the_report_of_a_promotion",
    "reports/*/promotion-*/*/per_image.csv": "test_truncation.py::test_evidence_of_a_promotion",
    "reports/*/promotion-*/*/evaluation.json": "test_truncation.py::test_evidence_of_a_promotion",
    "reports/*/promotion-*/*/table.csv": "test_truncation.py::test_evidence_of_a_promotion",
    "reports/*/promotion-*/*/digests.json": "test_truncation.py::test_evidence_of_a_promotion",
    "source/*.part": "test_truncation_download.py::test_what_an_interrupted_download_left",
    "source/*.part.etag": "test_truncation_download.py::test_what_an_interrupted_download_left",
    "source/*.sha256": "test_truncation_download.py::test_what_a_download_noted",
    "source/*.zip": "test_truncation_download.py::test_what_a_download_noted",
}
"""By path in the workspace, or in the folder `source` of a download: the test below `tests/faults` that cuts it."""
NEVER_READ = (
    "*.lock",  # what is held, not what is in it
    "checkpoints/*/[0-9]*/error.txt",  # a traceback, for people
    "reports/*/promotion-*/*/*.png",
    "reports/*/promotion-*/*/official.csv",
)
OF_TESTS = ("checkpoints/*/nodes.txt", "*/filler")
"""What tests themselves put there."""


def unknown_files(workspace: Path) -> Iterator[str]:
    """Files below `workspace` of a kind that no test cuts.

    Of those beside its folders only databases and dotted names are looked at, because tests put files of their own
    there; what MLflow keeps is its own, and models in it are cut in `test_truncation_data.py::test_model_folder`.
    """
    for path in sorted(each for each in workspace.rglob("*") if each.is_file()):
        name = path.relative_to(workspace).as_posix()
        of_folder = name.split("/")[0] in FOLDERS or name.startswith(".")
        looked_at = of_folder or (path.parent == workspace and ".db" in name)
        if looked_at and not any(_fits(name, kind) for kind in (*CUT, *NEVER_READ, *OF_TESTS)):
            yield f"{name}: no test cuts a file of this kind (tests/faults/state_files.py)"


def _fits(name: str, kind: str) -> bool:
    return fnmatch(name, kind) and (name.count("/") == kind.count("/") or kind == "*.lock")
