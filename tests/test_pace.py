"""When a training stops, and which epoch is the best."""

import pytest

from lesion.errors import SettingError
from lesion.pace import Pace

CLASSES = ("melanoma", "nevus")


def followed(values, *, monitor="mean_auc", patience=0):
    pace = Pace(monitor, CLASSES, patience)
    return pace, [pace.observe({monitor: value}) for value in values]


def test_better_is_higher_or_lower_as_the_metric_wants_it_and_equal_is_not():
    assert followed([0.5, 0.5, 0.7, 0.6])[1] == [True, False, True, False]
    assert followed([0.5, 0.4, 0.4, 0.6], monitor="log_loss")[1] == [True, True, False, False]


def test_patience_counts_epochs_since_the_best_one():
    assert not followed([0.5, 0.4, 0.6, 0.5], patience=2)[0].exhausted
    assert followed([0.5, 0.6, 0.5, 0.6], patience=2)[0].exhausted
    assert not followed([0.5] + [0.4] * 50)[0].exhausted


def test_it_goes_on_from_where_it_was():
    pace, _ = followed([0.5, 0.4], patience=2)
    other = Pace("mean_auc", CLASSES, 2)
    other.load_state_dict(pace.state_dict())
    assert not other.observe({"mean_auc": 0.45})
    assert other.exhausted


def test_a_metric_that_is_not_defined_is_told_and_not_taken_for_worse():
    with pytest.raises(SettingError, match="monitor mean_auc is not defined on this validation part"):
        followed([float("nan")])
