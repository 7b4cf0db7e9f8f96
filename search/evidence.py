"""What a promotion keeps: the test part's probabilities, computed once, and everything that follows from them.

Probabilities are kept as the members give them, before temperature and weights: rules that change later need no second
look at the test part.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion.data.packed import PackedDataset
from lesion.errors import DataAccessError
from lesion.evaluation import evaluate
from lesion.predictor import Predictor
from lesion.rules import OperatingPoint, Rules
from lesion.writing import write_atomically
from search.digests import require_sound, write_digests
from search.gates import Candidate
from search.openings import KEY_LETTERS, record
from search.selection import Selection
from search.study import StudyStatus

PER_IMAGE, EVALUATION, TABLE = "per_image.csv", "evaluation.json", "table.csv"
PEOPLE = ("image", "group", "age", "sex", "site")


def tested(predictor: Predictor, test: PackedDataset, reports: Path, key: str, part: str) -> NDArray[np.float64]:
    """Probabilities of the test part by the plain model, (N, classes); never computed twice for one `key`.

    They are kept in the study's `reports` before anything is done with them, with what the `part` is known by.
    DataAccessError where that is damaged.
    """
    kept = kept_as(reports, key)
    if not kept.exists():
        reports.mkdir(parents=True, exist_ok=True)
        plain = replace(predictor, rules=Rules(), class_weights=None)
        content = io.BytesIO()
        np.save(content, plain.predict(test.images, test.table))
        write_atomically(kept, content.getbuffer())
    record(kept, part)
    try:
        # Opened here: NumPy leaves a file open that it cannot read.
        with kept.open("rb") as file:
            probabilities: NDArray[np.float64] = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataAccessError(_damaged(kept, f"cannot be read: {error}")) from error
    if probabilities.shape != (len(test), len(test.classes)):
        found = f"holds {probabilities.shape}, not {len(test)} images of {len(test.classes)} classes"
        raise DataAccessError(_damaged(kept, found))
    return probabilities


def kept_as(reports: Path, key: str) -> Path:
    """Where the probabilities of the test part are kept."""
    return reports / f"tested-{key[:KEY_LETTERS]}.npy"


def _damaged(kept: Path, what: str) -> str:
    return (
        f"{kept} is damaged: it {what}. Put it back from a copy; or delete it and promote again, which scores the "
        "test part with the same model once more and counts as the same opening"
    )


def candidate(
    data: PackedDataset, probabilities: NDArray[np.float64], rules: Rules, rows: NDArray[np.int64] | None = None
) -> Candidate:
    """Plain probabilities (N, classes) of `rows` of the data, or of all, under `rules`, with the people they are of."""
    table = data.table if rows is None else data.table.iloc[rows]
    evaluation = evaluate(
        rules.calibrated(probabilities),
        table["label"].to_numpy(np.int64),
        data.classes,
        images=table["image"].tolist(),
        groups=table["group"].astype(str).tolist(),
        decision_weights=rules.decision_weights,
    )
    return Candidate(evaluation, table.reset_index(drop=True)[list(PEOPLE)])


def write(
    folder: Path,
    test: Candidate,
    validation: Candidate,
    status: StudyStatus,
    selection: Selection,
    point: OperatingPoint | None = None,
) -> None:
    """What a reader of the run needs: scores, tables and figures of both parts, and how the trials were chosen.

    With an operating `point` the table of images says which it flags.
    """
    for name, part in (("test", test), ("validation", validation)):
        place, evaluation = folder / name, part.evaluation
        evaluation.figures(place)
        evaluation.per_image(point).to_csv(place / PER_IMAGE, index=False)
        evaluation.official_csv(place / "official.csv")
        part.table.to_csv(place / TABLE, index=False)
        (place / EVALUATION).write_text(json.dumps(evaluation.to_dict(), indent=2))
        write_digests(place, (PER_IMAGE, EVALUATION, TABLE))
    chosen: dict[str, Any] = {
        "objective": status.identity.objective,
        "best": [selection.best.value, selection.best.low, selection.best.high],
        "standard_error": selection.standard_error,
        "source": selection.source,
        "steps": list(selection.steps),
        "trials": {row.label: {"value": row.value, "settings": dict(row.settings)} for row in selection.rows},
    }
    (folder / "selection.json").write_text(json.dumps(chosen, indent=2))


def read(folder: Path) -> Candidate:
    """One part as `write` left it; OSError, ValueError or KeyError where it is damaged.

    Evidence of earlier releases has no digests, and says nothing of people: every photo is then a lesion of its own.
    """
    require_sound(folder)
    frame = pd.read_csv(
        folder / PER_IMAGE, dtype={"image": str, "truth": str}, keep_default_na=False, float_precision="round_trip"
    )
    classes = tuple(name.removeprefix("p_") for name in frame.columns if name.startswith("p_"))
    weights = json.loads((folder / EVALUATION).read_text()).get("decision_weights")
    table = _table(folder / TABLE, frame["image"].tolist())
    evaluation = evaluate(
        frame[[f"p_{name}" for name in classes]].to_numpy(np.float64),
        frame["truth"].map({name: k for k, name in enumerate(classes)}).to_numpy(np.int64),
        classes,
        images=frame["image"].tolist(),
        groups=table["group"].tolist(),
        decision_weights=weights,
    )
    return Candidate(evaluation, table)


def _table(path: Path, images: list[str]) -> pd.DataFrame:
    if path.exists():
        words = dict.fromkeys(("image", "group", "sex", "site"), str)
        people = pd.read_csv(path, dtype=words, keep_default_na=False, na_values={"age": [""]})
        if people["image"].tolist() != images:
            raise ValueError(f"{path} is not of the images of {PER_IMAGE}")
        return people
    return pd.DataFrame({"image": images, "group": "", "age": np.nan, "sex": "unknown", "site": "unknown"})
