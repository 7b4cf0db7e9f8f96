"""How right a training is on what it learns from: the scores of `lesion.metrics`, and whole paths of words."""

import numpy as np
import pytest
import torch

from lesion.metrics import summary
from lesion.outputs import OF_TRAINING, Outputs

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")


def test_outputs_of_several_steps_are_scored_together():
    outputs, rng = Outputs(CLASSES), np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 3, 20)
    for step in (slice(0, 8), slice(8, 20)):
        outputs.add(torch.from_numpy(logits[step]), torch.from_numpy(labels[step]))
    expected = summary(torch.from_numpy(logits).double().softmax(dim=1).numpy(), labels, CLASSES)
    assert outputs.scores() == {f"train_{name}": expected[name] for name in OF_TRAINING}


def test_a_path_is_right_when_every_word_of_it_is():
    paths = np.array([[0, 2], [1, 3], [0, 4]])
    outputs = Outputs(CLASSES, paths)
    said = torch.tensor([[0, 2], [0, 2], [1, 3], [0, 4], [0, 2]])  # of the last, one word is wrong
    outputs.add(torch.nn.functional.one_hot(said, 5).float(), torch.tensor([0, 0, 1, 2, 2]))
    assert outputs.scores() == {"train_accuracy": 0.8, "train_balanced_accuracy": pytest.approx((1 + 1 + 0.5) / 3)}


def test_a_class_that_no_step_had_counts_for_nothing_and_what_is_no_number_is_undefined():
    outputs = Outputs(CLASSES, np.array([[0, 2], [1, 3], [0, 4]]))
    outputs.add(torch.nn.functional.one_hot(torch.tensor([[0, 2]]), 5).float(), torch.tensor([0]))
    assert outputs.scores()["train_balanced_accuracy"] == 1.0
    broken = Outputs(CLASSES)
    broken.add(torch.tensor([[0.0, float("inf"), 0.0]]), torch.tensor([0]))
    assert all(np.isnan(value) for value in broken.scores().values())
