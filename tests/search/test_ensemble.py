"""Forward selection, step by step on cases small enough to follow."""

import numpy as np
import pytest

from search.ensemble import Candidate, forward_selection
from search.rows import TrialRow


def candidate(number: int, *column: float, models: int = 1) -> Candidate:
    rows = tuple(TrialRow(number * 10 + k, "complete", 0.5, 1, {}, {}, {}) for k in range(models))
    return Candidate(rows, np.array(column)[:, None])


TRUTH = np.array([[1.0], [0.0], [1.0]])


def closeness(probabilities: np.ndarray) -> float:
    return -float(((probabilities - TRUTH) ** 2).sum())


GOOD = candidate(1, 0.9, 0.4, 0.8)  # 0.01 + 0.16 + 0.04 = 0.21 away
BETTER = candidate(2, 0.7, 0.1, 0.8)  # 0.09 + 0.01 + 0.04 = 0.14
OPPOSITE = candidate(3, 1.0, 0.1, 0.6)  # 0 + 0.01 + 0.16 = 0.17
POOR = candidate(4, 0.1, 0.9, 0.1)


def test_the_best_is_first_and_others_join_as_long_as_they_help():
    steps = forward_selection([GOOD, BETTER, OPPOSITE, POOR], closeness, 4)
    assert [step.candidate for step in steps] == [BETTER, OPPOSITE]
    # With OPPOSITE (0.85, 0.1, 0.7): 0.0225 + 0.01 + 0.09; with GOOD (0.8, 0.25, 0.8): 0.04 + 0.0625 + 0.04.
    assert [step.score for step in steps] == pytest.approx([-0.14, -0.1225])


def test_the_number_of_models_is_capped():
    assert [step.candidate for step in forward_selection([GOOD, BETTER, OPPOSITE], closeness, 1)] == [BETTER]


def test_a_setting_counts_as_its_folds():
    folds = candidate(2, 0.7, 0.1, 0.8, models=2)
    assert [step.candidate for step in forward_selection([GOOD, folds], closeness, 2)] == [folds]
    assert [step.candidate for step in forward_selection([GOOD, folds], closeness, 1)] == [GOOD]
    assert forward_selection([folds], closeness, 1) == ()
    # Every model weighs the same, so two folds weigh twice: (2 * 0.7 + 1.0) / 3 and so on.
    first, second = forward_selection([folds, OPPOSITE], closeness, 3)
    assert (first.candidate, second.candidate) == (folds, OPPOSITE)
    mean = (2 * folds.probabilities + OPPOSITE.probabilities) / 3
    assert second.score == pytest.approx(closeness(mean))


def test_the_first_of_equals_is_taken_and_a_twin_does_no_harm():
    twin = candidate(5, 0.7, 0.1, 0.8)
    assert [step.candidate for step in forward_selection([BETTER, twin], closeness, 5)] == [BETTER, twin]


def test_models_that_validation_cannot_tell_apart_stay():
    def chosen(error: float) -> list[Candidate]:
        steps = forward_selection([GOOD, BETTER, OPPOSITE, POOR], closeness, 4, lambda first, second: error)
        return [step.candidate for step in steps]

    # All three together are (0.867, 0.2, 0.733), 0.1289 away: 0.0064 behind the two. POOR takes 0.27 away from that.
    assert chosen(0.006) == [BETTER, OPPOSITE]
    assert chosen(0.007) == [BETTER, OPPOSITE, GOOD]
    assert chosen(1.0) == [BETTER, OPPOSITE, GOOD, POOR]
