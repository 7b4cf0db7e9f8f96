"""The benchmark of calibration: from what promotions keep to the change of log-loss, without the test part."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import ISIC_2017, drawn

from benchmarks.calibration import changes
from lesion.calibration import fitted_temperature, tempered
from lesion.evaluation import evaluate
from lesion.metrics import paired_bootstrap

T = 1.7


def kept(reports: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a promotion at temperature T leaves, as `search.evidence` writes it; plain probabilities and labels."""
    parts = {name: drawn(rows, 3, seed, "learnt") for name, rows, seed in (("test", 120, 1), ("validation", 60, 2))}
    for name, (plain, labels) in parts.items():
        folder = reports / "promotion-0a1b" / name
        folder.mkdir(parents=True)
        images = [f"{name} {n}" for n in range(len(labels))]
        told = evaluate(tempered(plain, T), labels, ISIC_2017, images=images, samples=2, decision_weights=(3, 1, 1))
        told.per_image().to_csv(folder / "per_image.csv", index=False)
        groups = [f"lesion {n // 2}" for n in range(len(labels))]
        pd.DataFrame({"image": images, "group": groups}).to_csv(folder / "table.csv", index=False)
    np.save(reports / "tested-1111.npy", np.roll(parts["test"][0], 1, axis=0))  # of another model
    np.save(reports / "tested-2222.npy", parts["test"][0])
    return parts


def test_the_change_of_log_loss_is_paired_and_of_the_right_probabilities(tmp_path):
    parts = kept(tmp_path)
    (plain, labels), (validation, seen) = parts["test"], parts["validation"]
    before, best, promoted = changes(tmp_path, samples=1500)
    assert (before.temperature, promoted.temperature) == (1.0, pytest.approx(T))
    assert best.temperature == pytest.approx(fitted_temperature(validation, seen))
    assert (before.change.low, before.change.value, before.change.high) == (0.0, 0.0, 0.0)
    for each in (best, promoted):
        losses = [-np.log(p[np.arange(len(y)), y]).mean() for p, y in (
            (tempered(validation, each.temperature), seen), (tempered(plain, each.temperature), labels)
        )]  # fmt: skip
        assert (each.validation, each.test) == pytest.approx(losses)
        groups = [f"lesion {n // 2}" for n in range(len(labels))]
        paired = paired_bootstrap(
            tempered(plain, each.temperature), plain, labels, ISIC_2017, groups=groups, samples=1500, seed=0
        )["log_loss"]
        assert each.change.value == pytest.approx(paired.difference)
        assert (each.change.low, each.change.high) == pytest.approx((paired.low, paired.high), abs=0.05 * each.test)
        assert each.change.high - each.change.low == pytest.approx(paired.high - paired.low, rel=0.06)


def test_a_promotion_whose_plain_probabilities_are_gone_is_left_out(tmp_path):
    kept(tmp_path)
    (tmp_path / "tested-2222.npy").unlink()
    assert list(changes(tmp_path)) == []
