"""The setting `external`: how many external photos a training shows, counts, balances, embeds, and what it leaves."""

from functools import partial

import numpy as np
import pytest
from ranks import PLAIN
from small_data import CLASSES, SETTINGS, small_data, small_training, with_external
from test_training import same, told

from lesion.data.packed import EXTERNAL
from lesion.errors import CheckpointError, SettingError
from lesion.group import Group
from lesion.material import gather
from lesion.parallel import ParallelTraining
from lesion.settings import resolve
from lesion.tasks import Task

OURS, THEIRS = 12, 16
FROZEN = {"backbone__shufflenet_v2_x0_5__trainable_stages": 0, "augmentation": "none"}


@pytest.fixture(scope="module")
def data():
    return with_external(small_data())


def external_rows(training):
    rows = training.split.train
    return set(rows[(training.data.table["part"].iloc[rows] == EXTERNAL).to_numpy()].tolist())


def test_all_are_trained_on_unless_something_else_is_said(data):
    whole = small_training(data, balancing="class_weights")
    assert len(whole.split.train) == OURS + THEIRS
    assert whole.split.hash == data.split().hash
    assert whole._phase.material.counts.drawn.tolist() == [10, 7, 11]
    assert whole.step()["examples"] == OURS + THEIRS
    assert whole.predict().shape == (6, 3)


def test_none_is_the_training_on_the_data_without_them_bit_for_bit(data):
    plain, none = small_training(epochs=2), small_training(data, epochs=2, external=0.0)
    assert none.split.hash == plain.split.hash
    assert [told(none.step()) for _ in range(2)] == [told(plain.step()) for _ in range(2)]
    assert same(none.model.state_dict(), plain.model.state_dict())
    assert np.array_equal(none.predict(), plain.predict())


@pytest.mark.parametrize(
    "settings",
    [
        {"balancing": "class_weights"},
        {"balancing": "oversample", "loss": "logit_adjusted"},
        {"balancing": "smote_tomek", "balancing__smote_tomek__on": "pixels", "balancing__smote_tomek__neighbours": 2},
        {"balancing": "smote_tomek", "balancing__smote_tomek__on": "features", "balancing__smote_tomek__neighbours": 2},
        FROZEN,
    ],
    ids=["weights", "oversample", "pixels", "features", "frozen"],
)
def test_half_of_them_are_balanced_and_embedded_as_any_photo(data, tmp_path, settings):
    """Caches are shared by trainings of every share, and none reads another's."""
    apart = {share: trained(data, None if "features" not in str(settings) else tmp_path / f"{share}", share, settings)
             for share in (0.0, 0.5, 1.0)}  # fmt: skip
    shared = {share: trained(data, tmp_path / "shared", share, settings) for share in (1.0, 0.5, 0.0)}
    rows = [external_rows(shared[share]) for share in (0.0, 0.5, 1.0)]
    assert rows[0] < rows[1] < rows[2]
    assert {row ^ 1 for row in rows[1]} == rows[1]  # two of a lesion, the first of which has an even row
    for share, training in apart.items():
        np.testing.assert_allclose(training.predict(), shared[share].predict(), atol=1e-5)
    assert not np.allclose(apart[0.5].predict(), apart[1.0].predict(), atol=1e-5)


def trained(data, cache, share, settings):
    training = small_training(data, cache=cache, external=share, **settings)
    training.step()
    return training


def test_a_checkpoint_of_another_share_is_of_another_training(data):
    half = small_training(data, external=0.5)
    with pytest.raises(CheckpointError, match="of another training: settings, split differ"):
        half.load_state_dict(small_training(data, external=1.0).state_dict())
    half.load_state_dict(small_training(data, external=0.5).state_dict())


def test_ranks_share_the_same_photos(data):
    chosen = small_training(data, external=0.5).split
    plan = resolve({**SETTINGS, "external": 0.5, "augmentation": "none"})
    material = gather(plan, data, chosen, len)
    alone = list(material.epoch(0, workers=0, pinned=False))
    ranks = [list(material.epoch(0, workers=0, pinned=False, group=Group(rank, 2))) for rank in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert np.array_equal(np.concatenate([part.examples for part in parts]), whole.examples)
    assert len(alone) == len(chosen.train) // SETTINGS["batch_size"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_ranks_train_what_one_does(data):
    settings = {**PLAIN, "external": 0.5}
    alone, two = small_training(data, **settings), ParallelTraining(partial(built, **settings), 2, silence=60)
    assert two.step()["train_loss"] == pytest.approx(alone.step()["train_loss"], rel=1e-4)
    two.close()
    np.testing.assert_allclose(two.predict(), alone.predict(), atol=1e-4)


def built(group, **settings):
    return small_training(with_external(small_data()), group=group, **settings)


def test_a_task_regroups_them_and_leaves_which_ones(data):
    task = Task.read("melanoma", CLASSES)
    regrouped = small_training(task.apply(data), external=0.5, monitor="accuracy")
    assert external_rows(regrouped) == external_rows(small_training(data, external=0.5))


def test_a_share_beyond_all_is_refused(data):
    with pytest.raises(SettingError, match=r"external is 1\.5, must be from 0 to 1"):
        small_training(data, external=1.5)
