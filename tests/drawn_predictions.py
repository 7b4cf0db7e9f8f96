"""Predictions of every kind, for the tests of metrics and evaluations."""

import numpy as np

ISIC_2017 = ("melanoma", "seborrheic_keratosis", "nevus")
ISIC_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
CLOSE = {"rel": 1e-12, "abs": 1e-12}


def drawn(rows=120, classes=3, seed=0, kind="random"):
    """Probabilities and labels in which every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=rows - classes)])
    probabilities = rng.dirichlet(np.ones(classes), rows)
    if kind == "learnt":
        probabilities = 0.8 * probabilities + 0.2 * np.eye(classes)[labels]
    elif kind == "one-hot":
        probabilities = np.eye(classes)[rng.integers(classes, size=rows)]
    elif kind == "perfect":
        probabilities = np.eye(classes)[labels]
    elif kind == "tied":
        probabilities = rng.integers(0, 3, (rows, classes)) / 2
    elif kind == "constant":
        probabilities = np.full((rows, classes), 0.5)
    return probabilities, labels


KINDS = ("random", "learnt", "one-hot", "perfect", "tied", "constant")


def names(classes):
    return tuple(f"class{k}" for k in range(classes))
