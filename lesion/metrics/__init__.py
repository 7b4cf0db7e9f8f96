"""How good probabilities are: pure functions of (probabilities, labels, classes).

Two families, kept apart on purpose:

- `summary` and `report` serve the search. A number that the labels cannot define is NaN, so that a
  validation part without a single melanoma can never look like a perfect melanoma detector. Decisions
  are the largest probability of a row, an exact tie counts as wrong. `bootstrap` puts intervals on `report`.
- `official_scores` is the ISIC challenge's scorer to 1e-12, with its conventions: decisions per category
  at more than 0.5, and undefined rates count as 1.

>>> import numpy as np
>>> probabilities = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
>>> scores = summary(probabilities, np.array([0, 1, 1, 1]), ("benign", "malignant"))
>>> scores["macro_auc"], scores["sensitivity_malignant"]
(1.0, 0.3333333333333333)
"""

from lesion.metrics.catalogue import METRICS, Metric, metric_named, metrics_of, objectives, of_every_epoch
from lesion.metrics.intervals import (
    INFLATED,
    Interval,
    bootstrap,
    difference_interval,
    inflated_interval,
    interval_around,
    interval_within,
    intervals_of,
    lesions_of,
    limited_by,
    resamples,
    score_interval,
    share_interval,
)
from lesion.metrics.official import (
    OfficialScores,
    official_categories,
    official_ranking,
    official_scores,
    official_weights,
)
from lesion.metrics.paired import Paired, delong, holm, mcnemar, paired_bootstrap
from lesion.metrics.scores import (
    UNDECIDED,
    calibration_table,
    confusion_matrix,
    decisions,
    report,
    sampled_summary,
    summary,
)
from lesion.metrics.shares import Share, mean_share, sampled_share
from lesion.metrics.variance import Variance, sampled_variance

__all__ = [
    "INFLATED",
    "METRICS",
    "UNDECIDED",
    "Interval",
    "Metric",
    "OfficialScores",
    "Paired",
    "Share",
    "Variance",
    "bootstrap",
    "calibration_table",
    "confusion_matrix",
    "decisions",
    "delong",
    "difference_interval",
    "holm",
    "inflated_interval",
    "interval_around",
    "interval_within",
    "intervals_of",
    "lesions_of",
    "limited_by",
    "mcnemar",
    "mean_share",
    "metric_named",
    "metrics_of",
    "objectives",
    "of_every_epoch",
    "official_categories",
    "official_ranking",
    "official_scores",
    "official_weights",
    "paired_bootstrap",
    "report",
    "resamples",
    "sampled_share",
    "sampled_summary",
    "sampled_variance",
    "score_interval",
    "share_interval",
    "summary",
]
