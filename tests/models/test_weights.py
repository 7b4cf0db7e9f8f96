"""Weights of torchvision's layout old and new, and what is said of files that are none or of another model."""

import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torchvision import models

from lesion.errors import WeightsError
from lesion.models.backbones import backbones
from lesion.models.weights import adapt, body_of, load_pretrained, normalisation_of

NAME = "shufflenet_v2_x0_5"


def whole(name=NAME, **options):
    torch.manual_seed(0)
    return models.get_model(name, weights=None, **options)


def loaded(weights, name=NAME, **options):
    """Whether a fresh model takes over what was saved from `whole(name)`."""
    torch.manual_seed(1)
    model = models.get_model(name, weights=None, **options)
    load_pretrained(model, name, str(weights))
    return model


def same_body(model, other):
    theirs = other.state_dict()
    classifiers = ("fc.", "classifier.", "heads.")
    return all(torch.equal(t, theirs[k]) for k, t in model.state_dict().items() if not k.startswith(classifiers))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(whole().state_dict(), path)
    return path


def test_a_file_comes_with_or_without_a_classifier_of_its_own(file, tmp_path):
    assert same_body(loaded(file), whole())
    state = whole().state_dict()
    two_classes = {**state, "fc.weight": torch.zeros(2, 1024), "fc.bias": torch.zeros(2)}
    without = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    for number, changed in enumerate((two_classes, without)):
        torch.save(changed, tmp_path / f"{number}.pt")
        assert same_body(loaded(tmp_path / f"{number}.pt"), whole())


@pytest.mark.parametrize("name", [NAME, "mnasnet0_5"])
def test_safetensors_which_know_no_versions(name, tmp_path):
    safetensors.torch.save_file(whole(name).state_dict(), tmp_path / "weights.safetensors")
    assert same_body(loaded(tmp_path / "weights.safetensors", name), whole(name))


def test_files_that_did_not_count_batches_yet(tmp_path):
    state = OrderedDict((k, t) for k, t in whole().state_dict().items() if not k.endswith("num_batches_tracked"))
    torch.save(state, tmp_path / "old.pth")
    assert same_body(loaded(tmp_path / "old.pth"), whole())


def test_dotted_names_of_densenets():
    def densenet():
        return models.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8)

    trained, model = densenet(), densenet()
    state = {re.sub(r"(layer\d+\.(norm|conv))([12]\.)", r"\1.\3", k): t for k, t in trained.state_dict().items()}
    assert "features.denseblock1.denselayer2.norm.1.weight" in state
    adapt(model, "densenet121", state, body=body_of(model), where="a file")
    assert same_body(model, trained)


def small_vit(side=32):
    return models.VisionTransformer(side, 8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)


def test_former_names_of_vision_transformers():
    trained, model = small_vit(), small_vit()
    names = {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}
    state = {re.sub(r"\.mlp\.[03]\.", lambda m: names[m[0]], k): t for k, t in trained.state_dict().items()}
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.bias" in state
    adapt(model, "vit_b_16", state, body=body_of(model), where="a file")
    assert same_body(model, trained)


def test_positions_of_a_vision_transformer_are_resampled_as_torchvision_does():
    trained, model = small_vit(32), small_vit(48)
    torch.nn.init.normal_(trained.encoder.pos_embedding)
    adapt(model, "vit_b_16", trained.state_dict(), body=body_of(model), where="a file")
    expected = models.vision_transformer.interpolate_embeddings(48, 8, trained.state_dict())
    assert torch.equal(model.encoder.pos_embedding, expected["encoder.pos_embedding"])


@pytest.mark.parametrize("shape", [(1, 18, 16), (1, 17, 8), (17, 16), (1, 0, 16)])
def test_positions_that_cannot_be_resampled(shape):
    state = small_vit().state_dict() | {"encoder.pos_embedding": torch.zeros(shape)}
    model = small_vit(48)
    with pytest.raises(WeightsError, match=re.escape(f"encoder.pos_embedding is {shape}, must be (1, 37, 16)")):
        adapt(model, "vit_b_16", state, body=body_of(model), where="a file")


def test_the_normalisation_in_the_classifier_of_a_convnext_is_no_classifier():
    def convnext():
        return models.ConvNeXt([models.convnext.CNBlockConfig(8, None, 2)])

    state = convnext().state_dict()
    del state["classifier.2.weight"], state["classifier.0.weight"]
    model = convnext()
    with pytest.raises(WeightsError, match=re.escape("1 tensors missing (first: classifier.0.weight)")):
        adapt(model, "convnext_tiny", state, body=body_of(model), where="a file")


class Executed:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def torn(path, write):
    write(path)
    path.write_bytes(path.read_bytes()[:-2000])


STATE = whole().state_dict()
WRITE_BAD = {
    "resnet.pth": lambda p: torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.bias": torch.zeros(64)}, p),
    "wider.pth": lambda p: torch.save(whole("shufflenet_v2_x1_0").state_dict(), p),
    "less.pth": lambda p: torch.save({k: t for k, t in STATE.items() if k != "conv5.0.weight"}, p),
    "more.pth": lambda p: torch.save({**STATE, "conv6.weight": torch.zeros(1)}, p),
    "code.pth": lambda p: torch.save({"conv1.weight": Executed()}, p),
    "pickle.pth": lambda p: p.write_bytes(pickle.dumps(Executed())),
    "module.pth": lambda p: torch.save(torch.nn.Linear(2, 2), p),
    "torn.pth": lambda p: torn(p, lambda q: torch.save(STATE, q)),
    "torn.safetensors": lambda p: torn(p, lambda q: safetensors.torch.save_file(STATE, q)),
    "text.pth": lambda p: p.write_text("no weights at all"),
    "empty.pth": lambda p: p.touch(),
    "nested.pth": lambda p: torch.save({"epoch": 3, "state_dict": STATE}, p),
    "list.pth": lambda p: torch.save([torch.zeros(1)], p),
    "absent.pth": lambda p: None,
}
TENSORS_ONLY = "it is damaged, or holds more than tensors, which could run code; save the model's state_dict() alone"
BAD = {
    "resnet.pth": "tensors missing (first: conv1.0.weight); 2 unknown (first: bn1.bias); are these weights of another",
    "wider.pth": "of another shape (first: conv5.0.weight is (1024, 464, 1, 1), must be (1024, 192, 1, 1)); are these",
    "less.pth": "does not fit shufflenet_v2_x0_5: 1 tensors missing (first: conv5.0.weight); are these",
    "more.pth": "1 unknown (first: conv6.weight); are these weights of another model?",
    "code.pth": TENSORS_ONLY,
    "pickle.pth": "is not a weights file: ",
    "module.pth": TENSORS_ONLY,
    "torn.pth": "is not a weights file: ",
    "torn.safetensors": "is not a weights file: ",
    "text.pth": "is not a weights file: ",
    "empty.pth": "is not a weights file: ",
    "nested.pth": "holds dict, must be a state dict: tensors by name",
    "list.pth": "holds list, must be a state dict: tensors by name",
    "absent.pth": "no weights file ",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WRITE_BAD[name](tmp_path / name)
    with pytest.raises(WeightsError, match=re.escape(BAD[name])) as problem:
        backbones[NAME].build(32, True, weights=str(tmp_path / name))
    assert name in str(problem.value)
    assert "\n" not in str(problem.value)
    assert not Path("executed").exists()


def test_a_file_is_not_read_where_trained_weights_come_next():
    backbones[NAME].build(32, False, weights="absent.pth")


def test_weights_that_torchvision_does_not_have():
    with pytest.raises(
        WeightsError, match=r"no weights of shufflenet_v2_x0_5 'imagnet'; .*\(did you mean 'imagenet'\?\)"
    ):
        load_pretrained(whole(), NAME, "imagnet")


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Where torch keeps the weights of `NAME` that it has fetched."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints" / models.get_model_weights(NAME).DEFAULT.url.rpartition("/")[2]


@pytest.mark.parametrize("weights", ["imagenet", "DEFAULT", "IMAGENET1K_V1"])
def test_weights_by_name_are_read_from_where_torch_keeps_them(fetched, weights):
    torch.save(whole().state_dict(), fetched)
    assert same_body(loaded(weights), whole())


def test_code_among_fetched_weights_is_not_run(fetched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Executed()}, fetched)
    with pytest.raises(WeightsError, match="could not be fetched: it is damaged, or holds more than tensors"):
        load_pretrained(whole(), NAME, "imagenet")
    assert not Path("executed").exists()


def test_no_connection(fetched, monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(WeightsError, match=r"could not be fetched: .*no route to host.*; give a file instead"):
        load_pretrained(whole(), NAME, "imagenet")


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("resnet50", "IMAGENET1K_V1", IMAGENET),
        ("mobilenet_v2", "some/file.pth", IMAGENET),
        ("vgg16", "imagenet", IMAGENET),
        ("vgg16", "IMAGENET1K_FEATURES", ((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255))),
        ("efficientnet_v2_l", "imagenet", HALVES),
        ("efficientnet_v2_m", "imagenet", IMAGENET),
        ("inception_v3", "imagenet", HALVES),
    ],
)
def test_normalisation_belongs_to_the_weights(name, weights, expected):
    assert normalisation_of(name, weights) == expected


def test_googlenet_takes_what_torchvision_makes_of_its_usual_input():
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in IMAGENET)
    theirs = models.GoogLeNet(aux_logits=False, transform_input=True, init_weights=False)._transform_input
    ours, spread = (torch.tensor(part).view(3, 1, 1) for part in normalisation_of("googlenet", "imagenet"))
    torch.testing.assert_close((images - ours) / spread, theirs((images - mean) / std))
