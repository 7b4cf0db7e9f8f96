"""Interrupted equals uninterrupted, equal cost, what stays frozen, what memory and numbers do to a training."""

import dataclasses
from copy import deepcopy

import numpy as np
import pytest
import torch
from small_data import small_data, small_training

from lesion import checkpoints
from lesion.errors import CheckpointError, NonFiniteLossError, SettingError
from lesion.metrics import confusion_matrix
from lesion.prediction import predict_probabilities

VARIANTS = {
    "adamw": {"augmentation": "strong", "head": "dense", "clip": 1.0, "views": 2},
    "sgd": {"optimizer": "sgd", "optimizer__adamw__lr": None, "balancing": "oversample", "loss": "focal"},
    "best": {"keep": "best", "schedule": "plateau", "schedule__plateau__patience": 1, "metadata": "concatenate"},
    "words": {"head": "taxonomy_decoder", "loss": "path"},
    "no average": {"weight_average": 0.0, "schedule": "step", "backbone__shufflenet_v2_x0_5__trainable_stages": 2},
}


def same(one, other):
    """Whether two nested states are equal bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def told(metrics):
    # The precision of a class that is never called is NaN, which equals nothing.
    return {name: None if np.isnan(value) else value for name, value in metrics.items() if name != "seconds"}


@pytest.fixture(scope="module", params=VARIANTS)
def uninterrupted(request, tmp_path_factory):
    """Settings, a training that ran for two epochs with them, its metrics, and where it was saved at each boundary."""
    settings, folder = VARIANTS[request.param], tmp_path_factory.mktemp("whole")
    whole = small_training(epochs=2, **settings)
    metrics, paths = [], [checkpoints.save(whole.state_dict(), folder)]
    for epoch in (1, 2):
        metrics.append(told(whole.step()))
        paths.append(checkpoints.save(whole.state_dict(), folder / str(epoch)))
    return settings, whole, metrics, paths


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_interrupted_and_resumed_equals_uninterrupted(uninterrupted, epoch):
    settings, whole, metrics, paths = uninterrupted
    torch.rand(5)  # what others draw between does not matter
    resumed = small_training(epochs=2, **settings)
    resumed.load_state_dict(checkpoints.load(paths[epoch]))
    assert [told(resumed.step()) for _ in range(epoch, 2)] == metrics[epoch:]
    assert same(resumed.state_dict(), whole.state_dict())
    assert np.array_equal(resumed.predict(), whole.predict())


def test_epochs_differ_and_so_do_seeds():
    one, other = small_training(seed=1), small_training(seed=2)
    losses = [one.step()["train_loss"], one.step()["train_loss"], other.step()["train_loss"]]
    assert len(set(losses)) == 3


def test_the_learning_rate_goes_on_from_epoch_to_epoch():
    training = small_training(epochs=3, schedule__cosine__warmup=1.0)
    rates = [training.step()["lr"] for _ in range(3)]  # of the last of three steps: 2, 5 and 8 of 9
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3 * (1 - 0.75**0.5)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")
@pytest.mark.parametrize("workers", [2, 4])
def test_loading_workers_change_nothing(workers):
    alone, helped = small_training(augmentation="strong"), small_training(augmentation="strong", workers=workers)
    assert [told(alone.step()) for _ in range(2)] == [told(helped.step()) for _ in range(2)]
    assert same(alone.state_dict(), helped.state_dict())


def test_trainings_of_one_state_do_not_share_it():
    first = small_training()
    first.step()
    state = deepcopy(first.state_dict())
    second, third = small_training(), small_training()
    second.load_state_dict(state)
    third.load_state_dict(state)
    second.step()
    assert same(third.state_dict(), first.state_dict())


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"seed": 8}, "seed"),
        ({"epochs": 4}, "epochs"),
        ({"batch_size": 3}, "settings"),
        ({"data": small_data(seed=1)}, "data"),
        ({"data": small_data(validation=(2, 2, 3))}, "split"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_changes_nothing(change, differs):
    state = small_training(**change).state_dict()
    training = small_training()
    before = deepcopy(training.state_dict())
    with pytest.raises(CheckpointError, match=f"of another training: {differs} differ"):
        training.load_state_dict(state)
    with pytest.raises(CheckpointError, match="has format 0, this program reads 1 and 2"):
        training.load_state_dict(state | {"format": 0})
    assert same(training.state_dict(), before)


@pytest.mark.parametrize(
    ("settings", "examples"),
    [
        ({"balancing": "none"}, 12),
        ({"balancing": "oversample"}, 12),
        ({"balancing": "downsample"}, 12),
        ({"balancing": "oversample", "epoch": "full"}, 16),  # of 18, in whole batches of 4
        ({"balancing": "downsample", "epoch": "full"}, 8),  # of 9
        ({"batch_size": 64}, 12),
    ],
)
def test_an_epoch_costs_the_same_whatever_the_balancing(settings, examples):
    training = small_training(**settings)
    shown = []
    training.model.register_forward_pre_hook(
        lambda model, images: shown.append(len(images[0])) if model.training else 0
    )
    assert training.step()["examples"] == examples == sum(shown)
    assert training.step()["examples"] == 2 * examples == sum(shown)


def test_the_validation_part_teaches_nothing():
    data = small_data()
    darker = data.images.copy()
    darker[data.split().validation] //= 4
    one, other = small_training(data), small_training(dataclasses.replace(data, images=darker))
    one.step()
    other.step()
    assert same(one.model.state_dict(), other.model.state_dict())
    assert not np.array_equal(one.predict(), other.predict())


def test_colours_are_learnt():
    settings = {"backbone": "squeezenet1_1", "batch_size": 5, "weight_average": 0.5}
    training = small_training(small_data(train=(8, 6, 6)), epochs=8, **settings)
    metrics = [training.step() for _ in range(8)]
    assert metrics[-1]["train_loss"] < 0.3 * metrics[0]["train_loss"]
    assert metrics[-1]["mean_auc"] == 1.0
    assert metrics[-1]["balanced_accuracy"] == 1.0


def test_what_is_learnt_from_is_scored_by_the_outputs_of_its_steps():
    settings = {"backbone": "squeezenet1_1", "batch_size": 5, "balancing": "oversample", "weight_average": 0.0}
    training = small_training(small_data(train=(12, 6, 6)), epochs=8, **settings)
    shown = []
    accumulate = training._gradients.accumulate

    def watched(batch, optimizer):
        loss, logits = accumulate(batch, optimizer)
        shown.append((logits.numpy(), batch.labels.numpy()))
        return loss, logits

    training._gradients.accumulate = watched
    told = [training.step() for _ in range(8)]
    logits, labels = (np.concatenate(each) for each in zip(*shown[-4:], strict=True))  # of the last epoch: 4 steps
    right = logits.argmax(1) == labels
    assert told[-1]["train_accuracy"] == right.mean()
    recalls = [right[labels == k].mean() for k in range(3)]
    assert told[-1]["train_balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert told[-1]["train_mean_auc"] > 0.9
    assert told[-1]["train_accuracy"] > told[0]["train_accuracy"]


def test_the_confusion_of_an_epoch_counts_its_decisions():
    training = small_training()
    told = training.step()
    counts = training.confusion()
    assert counts.shape == (3, 4)
    assert counts.sum(axis=1).tolist() == [2, 2, 2]
    assert np.trace(counts) / 6 == told["accuracy"]


def test_predictions_are_those_of_the_average():
    training = small_training()
    training.step()
    probabilities = training.predict()
    assert probabilities.shape == (6, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    training.predicting_model.load_state_dict(training.model.state_dict())
    assert np.array_equal(training.predict(), probabilities)  # computed once an epoch
    assert training.predicting_model is not training.model
    assert small_training(weight_average=0.0).predicting_model.training


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
@pytest.mark.parametrize("trained", [0, 2])
def test_frozen_stages_keep_weights_and_statistics(trained, batch_norm):
    own = "backbone__shufflenet_v2_x0_5__"
    training = small_training(**{own + "trainable_stages": trained, own + "batch_norm": batch_norm})
    before = deepcopy(training.model.state_dict())
    training.step()
    changed = {key for key, tensor in training.model.state_dict().items() if not torch.equal(tensor, before[key])}
    frozen = len(training.model.backbone.stages) - trained
    assert {int(key.split(".")[2]) for key in changed if key.startswith("backbone.")} == set(
        range(frozen, frozen + trained)
    )
    assert any(key.startswith("head.") for key in changed)
    statistics = {key for key in changed if "running_" in key or "num_batches" in key}
    assert bool(statistics) == (batch_norm == "train" and trained > 0)


def test_a_loss_that_is_no_number_ends_the_epoch_at_once():
    training = small_training()
    torch.nn.init.constant_(training.model.head[-1].bias, float("nan"))
    steps = []
    training.model.register_forward_pre_hook(lambda *_: steps.append(1))
    with pytest.raises(NonFiniteLossError, match="the loss is nan in epoch 1; a lower lr"):
        training.step()
    assert len(steps) == 1


def test_a_training_that_explodes_says_so():
    exploding = {"backbone": "squeezenet1_1", "optimizer": "sgd", "optimizer__sgd__lr": 10.0, "schedule": "constant"}
    training = small_training(optimizer__adamw__lr=None, epoch="full", **exploding)
    with pytest.raises(NonFiniteLossError, match="lower lr"):
        [training.step() for _ in range(5)]


def test_weights_that_predict_no_numbers_are_found_though_every_loss_was_finite():
    training = small_training(weight_average=0.0)
    training.model.backbone.register_forward_hook(lambda model, _, out: out if model.training else out * float("inf"))
    with pytest.raises(NonFiniteLossError, match="predicts no numbers after epoch 1"):
        training.step()


def fits(model, most, sizes):
    """Let `model` run out of memory on more than `most` images while it trains."""

    def check(_, images):
        if model.training and len(images[0]) > most:
            raise torch.OutOfMemoryError(f"{len(images[0])} images are too many")
        sizes.extend([len(images[0])] * model.training)

    model.register_forward_pre_hook(check)


@pytest.mark.parametrize("loss", ["cross_entropy", "weighted_cross_entropy", "focal"])
def test_micro_batches_train_as_the_whole_batch_does(loss):
    # Without batch norm, whose statistics are those of the micro-batch, and without dropout.
    settings = {
        "backbone": "squeezenet1_1", "head__linear__dropout": 0.0, "loss": loss, "batch_size": 10, "epoch": "full",
        "optimizer": "sgd", "optimizer__adamw__lr": None, "weight_average": 0.0,
    }  # fmt: skip
    whole, halved = small_training(**settings), small_training(**settings)
    sizes = []
    fits(halved.model, 3, sizes)
    trained = ("train_loss", "train_accuracy", "train_balanced_accuracy", "train_mean_auc")
    told = [{name: found[name] for name in trained} for found in (training.step() for training in (whole, halved))]
    assert sizes == [3, 3, 2, 2]  # not 3, 3, 3 and 1
    assert told[1] == pytest.approx(told[0], rel=1e-4)
    for ours, theirs in zip(halved.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    resumed = small_training(**settings)
    resumed.load_state_dict(halved.state_dict())
    fits(resumed.model, 3, sizes := [])
    resumed.step()
    assert sizes == [3, 3, 2, 2]  # it does not run out of memory again to learn what fits


def test_a_head_learns_on_the_features_of_a_frozen_backbone_and_on_what_lies_between_them(tmp_path):
    settings = {"balancing": "smote", "balancing__smote__neighbours": 2, "balancing__smote__on": "features"}
    settings |= {"backbone": "squeezenet1_1", "head__linear__dropout": 0.0}
    training = small_training(cache=tmp_path, epochs=8, epoch="full", optimizer__adamw__lr=0.05, **settings)
    before = deepcopy(training.model.backbone.state_dict())
    passed = []
    training.model.backbone.register_forward_hook(lambda *_: passed.append(1))
    losses = [training.step()["train_loss"] for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    assert same(training.model.backbone.state_dict(), before)
    assert not passed  # the maps were made when the neighbours were sought
    assert training._phase.material.counts.drawn.tolist() == [6, 6, 6]
    assert training._phase.material.counts.original.tolist() == [6, 3, 3]
    photos = predict_probabilities(
        training.predicting_model,
        training.data.images[training.split.validation],
        image_size=24,
        precision="float32",
    )
    np.testing.assert_allclose(training.predict(), photos, atol=2e-3)  # maps are kept as float16
    with pytest.raises(SettingError, match="needs a folder"):
        small_training(**settings)


THREE_LEVELS = {
    "head": "taxonomy_decoder", "head__taxonomy_decoder__taxonomy": "isic2017_three_levels_sk_benign", "loss": "path",
}  # fmt: skip


def test_the_loss_teaches_the_words_that_the_head_spells():
    training = small_training(**THREE_LEVELS)
    assert training.model.head.taxonomy.levels == training._phase.loss.taxonomy.levels
    assert len(training._phase.loss.taxonomy.levels) == 3
    assert np.isfinite(training.step()["train_loss"])


def test_head_and_loss_speak_of_one_taxonomy():
    own = {"loss__path__taxonomy": "isic2017_three_levels_sk_benign"}
    assert np.isfinite(small_training(**THREE_LEVELS, **own).step()["train_loss"])
    message = "spells along taxonomy isic2017_three_levels_sk_benign, the loss teaches isic2017: give both the same, or"
    with pytest.raises(SettingError, match=message):
        small_training(**THREE_LEVELS, loss__path__taxonomy="isic2017")


def test_a_training_stops_when_its_patience_is_over_and_keeps_its_best_epoch():
    training = small_training(epochs=9, keep="best", early_stopping=2, monitor="log_loss", optimizer__adamw__lr=0.3)
    told, seen = [], []
    while not training.finished:
        told.append(training.step())
        judged = training._probabilities(training._current)
        seen.append(training._scores(judged)["log_loss"])
        counts = confusion_matrix(judged, training.data.labels[training.split.validation], training.data.classes)
        assert np.array_equal(training.confusion(), counts)
    kept = [metrics["log_loss"] for metrics in told]
    assert [metrics["epoch_log_loss"] for metrics in told] == seen
    best = int(np.argmin(seen))
    assert training.epoch == best + 3 < 9
    assert kept == list(np.minimum.accumulate(seen))
    assert training._scores(training._probabilities(training.predicting_model))["log_loss"] == min(seen)


def test_what_cannot_be_halved_is_out_of_memory():
    training = small_training()
    fits(training.model, 1, [])
    with pytest.raises(torch.OutOfMemoryError, match="2 images are too many"):
        training.step()


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    training = small_training()

    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    training.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        training.step()
    assert training.state_dict()["parts"] == 1
