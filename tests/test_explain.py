"""Grad-CAM: against the closed form, on a network whose reasons are known, through heads of every kind."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_models import CLASSES, member
from torch import nn

from lesion import explanation_files, sanity
from lesion.contact_sheets import contact_sheet
from lesion.data.decode import decode
from lesion.errors import SettingError
from lesion.explain import Explanation, explain
from lesion.explanation_files import ExplanationFolder, write_explanations
from lesion.gradcam import grad_cam
from lesion.models import Model, heads
from lesion.models.backbones import Backbone
from lesion.models.backbones.freezing import Freezing
from lesion.predictor import Member, Predictor
from lesion.sanity import Cascade, cascade, rank_correlation

SIDE = 64
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CORNERS = {"melanoma": (0, 0), "seborrheic_keratosis": (0, 32), "nevus": (32, 0)}
"""Where the red, the green and the blue square of the photo stand."""


def seeing_colours(seed=0, head="linear"):
    """A network that takes red for melanoma, green for keratosis and blue for nevus; its map is 8 × 8."""
    torch.manual_seed(seed)
    body = Backbone(nn.ModuleList([nn.AvgPool2d(8)]), 3, UNIT, Freezing())
    model = Model(body, None, heads[head].build(3, CLASSES))
    if head == "linear":
        with torch.no_grad():
            model.head[-1].weight.copy_(4 * torch.eye(3) - 1)
    settings = {"image_size": SIDE, "backbone": "squeezenet1_1", "precision": "float32"}
    return Member(settings, model.eval(), SIDE, "stretch")


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def photo(tmp_path):
    pixels = np.full((SIDE, SIDE, 3), 20, np.uint8)
    for channel, (top, left) in enumerate(CORNERS.values()):
        pixels[top : top + 16, left : left + 16] = 0
        pixels[top : top + 16, left : left + 16, channel] = 250 - 30 * channel
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("target", CLASSES)
def test_the_map_lies_on_what_speaks_for_the_class(photo, target, views):
    (why,) = explain(Predictor((seeing_colours(),), CLASSES), [photo], target=target, views=views)
    top, left = CORNERS[target]
    inside = why.map[top : top + 16, left : left + 16]
    assert why.map.shape == (SIDE, SIDE)
    assert inside.mean() > 0.6
    assert inside.sum() > 0.5 * why.map.sum()
    assert (why.map.max(), why.map.min()) == (1.0, 0.0)
    assert why.said["decision"] == "melanoma"


def test_behind_an_average_and_a_linear_layer_it_is_the_class_activation_map():
    one = seeing_colours()
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = grad_cam(one.model, images, torch.tensor([0, 1, 2])).maps
    features = one.model.features(images)
    weights = one.model.head[-1].weight.detach()
    expected = torch.einsum("nc,nchw->nhw", weights, features).relu() / 64  # 64 places share each slope
    torch.testing.assert_close(found, expected)


def test_the_slope_at_the_map_is_that_of_finite_differences():
    model = seeing_colours(head="attention_lstm").model
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    found = grad_cam(model, images, torch.tensor([1])).maps.double()
    exact = model.double().head
    with torch.no_grad():
        features = model.features(images.double())
        slopes = []
        for channel in range(3):
            step = torch.zeros_like(features)
            step[:, channel] = 1e-5  # the mean slope of a channel: all its places move together
            slopes.append((exact(features + step) - exact(features - step))[0, 1] / 2e-5 / 64)
        signed = torch.einsum("c,nchw->nhw", torch.stack(slopes), features)
    assert signed.abs().max() > 1e-9  # there is something to compare
    torch.testing.assert_close(found, signed.relu(), rtol=1e-3, atol=1e-3 * float(signed.abs().max()))


@pytest.mark.parametrize("head", sorted(heads))
def test_every_head_can_be_explained(photo, head):
    one = seeing_colours(3, head)
    for why in explain(Predictor((one,), CLASSES, views=2), [photo, photo], target="nevus"):
        assert np.isfinite(why.map).all()
        assert 0 <= why.map.min() <= why.map.max() <= 1
        assert bool(why.attention) == hasattr(one.model.head, "attention")


def test_the_decoder_s_attention_is_that_of_each_word_of_the_class_asked_for(photo):
    predictor = Predictor((seeing_colours(1, "taxonomy_decoder"),), CLASSES)
    paths = {name: next(explain(predictor, [photo], target=name)).attention[0] for name in CLASSES}
    assert paths["melanoma"].words[-1] == "melanoma"
    assert paths["nevus"].words[-1] == "nevus"
    assert paths["nevus"].words[0] == paths["melanoma"].words[0] != paths["seborrheic_keratosis"].words[0]
    np.testing.assert_array_equal(paths["nevus"].maps[0], paths["melanoma"].maps[0])  # the first look is before a word
    for look in paths.values():
        assert look.maps.shape == (len(look.words), SIDE, SIDE)
        np.testing.assert_allclose(look.maps.max(axis=(1, 2)), 1)


def test_an_ensemble_is_the_mean_of_its_members_maps_each_scaled(photo):
    first, second = seeing_colours(), seeing_colours()
    with torch.no_grad():
        second.model.head[-1].weight.copy_(100 * torch.eye(3)[[1, 0, 2]])  # takes green for melanoma, and is louder
    one, other, both = (
        next(explain(Predictor(members, CLASSES), [photo], target="melanoma"))
        for members in ((first,), (second,), (first, second))
    )
    mean = (one.map + other.map) / 2
    np.testing.assert_allclose(both.map, mean / mean.max(), atol=1e-6)
    assert both.peaks == pytest.approx((one.peaks[0], other.peaks[0]))
    assert other.peaks[0] > 10 * one.peaks[0]


def test_maps_depend_on_the_weights(photo, tmp_path):
    flat = tmp_path / "leaves.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 5, 3), np.uint8)).resize((SIDE, SIDE)).save(flat)
    found = cascade(Predictor((seeing_colours(),), CLASSES), [photo, flat], target="melanoma").correlations
    assert list(found) == ["nothing", "head", "stage 1"]
    assert found["nothing"] == 1.0
    assert abs(found["head"]) < 0.6
    trained = Predictor((member(0, size=SIDE),), CLASSES)
    found = cascade(trained, [photo, flat], target="melanoma").correlations
    assert list(found)[:2] == ["nothing", "head"]
    assert abs(list(found.values())[-1]) < 0.6
    again = [next(explain(trained, [photo], target="melanoma")).map for _ in range(2)]
    assert rank_correlation(*again) == pytest.approx(1.0)


@pytest.mark.slow
def test_members_of_different_depth_are_made_random_from_the_head_on(tmp_path, monkeypatch):
    photo = tmp_path / "leaves.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 5, 3), np.uint8)).resize((SIDE, SIDE)).save(photo)
    shallow = member(0, size=SIDE, image_size=SIDE)
    deep = member(1, size=SIDE, image_size=SIDE, backbone="mobilenet_v2")
    assert (len(deep.model.backbone.stages), len(shallow.model.backbone.stages)) == (5, 4)
    shown = []

    def explained(predictor, *args, **settings):
        shown.append([one.model for one in predictor.members])
        return explain(predictor, *args, **settings)

    monkeypatch.setattr(sanity, "explain", explained)
    found = cascade(Predictor((shallow, deep), CLASSES), [photo], target="melanoma").correlations
    assert list(found) == ["nothing", "head", "stage 4/5", "stage 3/4", "stage 2/3", "stage 1/2", "stage 1"]
    assert abs(found["stage 1"]) < 0.6
    for stage, (now, before) in enumerate(zip(shown[-1], shown[-2], strict=True)):
        same = all(torch.equal(a, b) for a, b in zip(now.parameters(), before.parameters(), strict=True))
        assert same == (stage == 0)  # the shallow one is held at its last, all random; the deep one goes on


def test_the_maps_that_are_compared_are_of_the_people_that_are_known(photo, monkeypatch):
    known = []

    def explained(*args, people, **settings):
        known.append(people)
        return explain(*args, people=people, **settings)

    monkeypatch.setattr(sanity, "explain", explained)
    person = pd.DataFrame({"age": [80.0], "sex": ["male"], "site": ["face"]})
    predictor = Predictor((seeing_colours(),), CLASSES)
    found = cascade(predictor, [photo], target="melanoma", people=person).correlations
    assert [people.equals(person) for people in known] == [True] * len(found)


def test_photos_on_which_nothing_speaks_for_the_target_are_not_compared(photo, tmp_path):
    """Their maps are all 0: as correlations of 0 they made a method that draws the same map always look sound."""
    dark = tmp_path / "dark.png"
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(dark)
    model = Predictor((seeing_colours(),), CLASSES)
    alone, both = (cascade(model, photos, target="melanoma") for photos in ([photo], [dark, photo, dark]))
    assert (alone.compared, both.compared) == (1, 1)
    assert both.correlations == alone.correlations
    for photos in ([], [dark]):
        assert cascade(model, photos, target="melanoma") == Cascade({}, 0)  # warnings are errors: no mean of nothing


@pytest.mark.parametrize(
    ("end", "compared", "told"),
    [
        (0.04, 40, "the maps depend on the model: their correlation is 0.04 when all is random"),
        (-0.31, 40, "the maps depend on the model: their correlation is -0.31 when all is random"),
        (0.93, 40, "the maps hardly depend on the model: their correlation is still 0.93 when all is random, as if"),
        (-0.93, 40, "the maps hardly depend on the model: their correlation is still -0.93 when all is random"),
        (0.04, 2, "2 photos can tell little (give 5 or more): the correlation is 0.04 when all is random"),
        (0.93, 1, "1 photo can tell little (give 5 or more): the correlation is 0.93 when all is random"),
    ],
)
def test_what_the_correlations_mean_is_said(end, compared, told):
    assert Cascade({"nothing": 1.0, "head": 0.6, "stage 1": end}, compared).in_words.startswith(told)


def test_correlations_of_nothing_mean_nothing():
    assert "nothing to compare" in Cascade({}, 0).in_words


def test_files_of_each_photo_and_a_contact_sheet(photo, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "photo.png"
    twin.write_bytes(photo.read_bytes())
    (tmp_path / "torn.jpg").write_bytes(b"no photo")
    broken = {}
    predictor = Predictor((seeing_colours(0, "taxonomy_decoder"), seeing_colours()), CLASSES)
    photos = [photo, tmp_path / "torn.jpg", twin]
    written = write_explanations(
        tmp_path / "why", explain(predictor, photos, broken=broken.__setitem__), {str(photo): "melanoma"}
    )
    assert [path.name for path in written] == ["photo.json", "photo-2.json", "contact_sheet.png"]
    assert list(broken) == [str(tmp_path / "torn.jpg")]
    facts = json.loads((tmp_path / "why" / "photo.json").read_text())
    assert facts["true"] == "melanoma"
    assert facts["correct"] == (facts["predicted"] == "melanoma")
    assert facts["members"] == 2
    assert "mean of the 2 members' maps" in facts["map"]
    assert sum(facts["probabilities"].values()) == pytest.approx(1)
    assert facts["confidence"] == pytest.approx(facts["probabilities"][facts["predicted"]])
    assert json.loads((tmp_path / "why" / "photo-2.json").read_text())["true"] is None
    raw = np.load(tmp_path / "why" / "photo_gradcam_raw.npy", allow_pickle=False)
    grey = pixels_of(tmp_path / "why" / "photo_gradcam_raw.png")
    np.testing.assert_array_equal(grey, np.round(raw * 255))
    for name in ("photo_original", "photo_gradcam_raw_color", "photo_gradcam_overlay"):
        assert pixels_of(tmp_path / "why" / f"{name}.png").shape == (SIDE, SIDE, 3)
    original = pixels_of(tmp_path / "why" / "photo_original.png")
    np.testing.assert_array_equal(original, decode(photo.read_bytes(), SIDE, "stretch"))
    (spelled,) = facts["attention"]
    assert [(tmp_path / "why" / name).exists() for name in spelled["pictures"]] == [True] * len(spelled["words"])
    with Image.open(tmp_path / "why" / "contact_sheet.png") as sheet:
        assert sheet.height > 2 * 176


def test_the_sheet_says_how_probable_the_class_shown_is_and_where_nothing_speaks_for_it(tmp_path, monkeypatch):
    drawn = []

    def recorded(rows, labels, *args, **settings):
        drawn.extend(labels)
        return contact_sheet(rows, labels, *args, **settings)

    monkeypatch.setattr(explanation_files, "contact_sheet", recorded)
    said = {"decision": "nevus", "confidence": 0.93, "p_melanoma": 0.04, "p_nevus": 0.96}
    grey, dark, bright = np.full((32, 32, 3), 90, np.uint8), np.zeros((32, 32), np.float32), np.eye(32, dtype="f4")
    shown = [("a.jpg", "melanoma", dark), ("b.jpg", "melanoma", bright), ("c.jpg", "nevus", bright)]
    write_explanations(
        tmp_path, [Explanation(name, grey, target, map_, said, (0.0,), ((1, 1),), 1) for name, target, map_ in shown]
    )
    says = "says: nevus\n0.93"
    assert drawn == [
        f"a\n{says}\nshown: melanoma 0.04\nnothing speaks for it",
        f"b\n{says}\nshown: melanoma 0.04",
        f"c\n{says}",
    ]


def test_no_photo_s_files_are_written_over_by_another_s(tmp_path):
    """A photo may be called as another one of its name would be numbered."""
    grey, folder = np.zeros((32, 32), np.float32), ExplanationFolder(tmp_path)
    said = {"decision": "nevus", "confidence": 0.5, "p_melanoma": 0.5, "p_nevus": 0.5}
    names = ["a/mole-2.jpg", "a/mole.jpg", "c/mole.jpg", "d/Mole.jpg", "e/mole-2.jpg", "f/mole.jpg"]
    written = [
        folder.add(Explanation(name, np.full((32, 32, 3), k, np.uint8), "melanoma", grey, said, (0.0,), ((1, 1),), 1))
        for k, name in enumerate(names)
    ]
    assert [path.stem for path in written] == ["mole-2", "mole", "mole-3", "Mole-4", "mole-2-2", "mole-5"]
    assert [json.loads(path.read_text())["image"] for path in written] == names
    pictures = [pixels_of(tmp_path / f"{path.stem}_original.png") for path in written]
    assert [int(each[0, 0, 0]) for each in pictures] == list(range(6))


def test_what_cannot_be_explained(photo):
    with pytest.raises(SettingError, match=r"no class 'melanom'; .*did you mean 'melanoma'"):
        next(explain(Predictor((seeing_colours(),), CLASSES), [photo], target="melanom"))
    with pytest.raises(SettingError, match="cut photos differently"):
        next(explain(Predictor((member(), member(geometry="crop")), CLASSES), [photo]))
