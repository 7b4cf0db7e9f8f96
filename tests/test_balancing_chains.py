"""Balancings one after the other: the published recipes, counted."""

import numpy as np
import pytest

from lesion.balancing import Draws, Part, balancings
from lesion.errors import SettingError
from lesion.settings import corrects_imbalance, resolve

ISIC2017 = {"melanoma": 374, "seborrheic_keratosis": 254, "nevus": 1372}
ISIC2018 = {"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142}


def part_of(counts):
    return Part(np.repeat(np.arange(len(counts)), list(counts.values())), tuple(counts))


def counts(part, name, **settings):
    flat = {key.replace("__", "."): value for key, value in settings.items()}
    component = balancings[name]
    drawn = component.build(part, Draws.everything(len(part)), np.random.default_rng(0), **component.fill(flat))
    return drawn.counts(part).tolist()


@pytest.mark.parametrize(
    ("of", "after"),
    [("melanoma", [1122, 508, 2744]), ("seborrheic_keratosis", [748, 762, 2744])],
)
@pytest.mark.parametrize("name", ["twice+positives", "positives+twice"])
def test_system_a_shows_the_whole_set_once_more_and_the_positives_again(name, of, after):
    assert counts(part_of(ISIC2017), name, positives__of=of) == after


def test_system_a_on_its_binary_task():
    assert counts(part_of({"rest": 1626, "melanoma": 374}), "twice+positives", positives__of="melanoma") == [3252, 1122]


@pytest.mark.parametrize("ceiling", [{"cap__count": 1270}, {"cap__of_class": "seborrheic_keratosis"}])
def test_g1_1_and_g1_8_have_1270_of_each(ceiling):
    assert counts(part_of(ISIC2017), "copies+cap", **ceiling) == [1270, 1270, 1270]


@pytest.mark.parametrize("ceiling", [{"cap__count": 1113}, {"cap__of_class": "MEL"}])
def test_g6_2_copies_four_classes_and_caps_at_the_melanomas(ceiling):
    after = counts(part_of(ISIC2018), "copies+cap", copies__of="BCC,AKIEC,DF,VASC", **ceiling)
    assert after == [1113, 1113, 1113, 1113, 1099, 575, 710]


def test_g9_1_halves_the_nevi():
    assert counts(part_of(ISIC2018), "cap", fraction=0.5) == [1113, 3352, 514, 327, 1099, 115, 142]


def test_g9_3_before_its_smote():
    after = counts(part_of(ISIC2018), "copies+cap", cap__count=3352)
    assert after == [3352, 3352, 2570, 1635, 3352, 575, 710]
    assert counts(part_of(ISIC2018), "copies+cap", cap__fraction=0.5) == after


def test_a_chain_is_chosen_and_set_like_any_balancing():
    plan = resolve({"balancing": "copies+cap", "balancing.copies+cap.cap.count": 9})
    assert plan.choices["balancing"].settings == {
        "copies.of": "minority", "cap.count": 9, "cap.fraction": None, "cap.of_class": None
    }  # fmt: skip


def test_a_chain_corrects_imbalance_where_one_of_its_links_does():
    assert corrects_imbalance("balancing", "twice+cap", {})
    assert corrects_imbalance("balancing", "twice+oversample", {"oversample.ratio": 0.5})
    assert not corrects_imbalance("balancing", "twice+oversample", {"oversample.ratio": 0.0})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("copies+cup", "balancing copies\\+cup: no balancing 'cup'; known: .* \\(did you mean 'cap'\\?\\)"),
        ("cap+cap", "cap stands twice"),
        ("none+cap", "none does nothing; leave it out"),
        ("cap+", "no balancing ''"),
    ],
)
def test_a_wrong_chain_is_refused_by_its_link(name, message):
    with pytest.raises(SettingError, match=message):
        balancings[name]


def test_a_wrong_setting_of_a_link_is_named_by_its_path():
    with pytest.raises(SettingError, match=r"cap\.count is 0, must be at least 1"):
        balancings["copies+cap"].fill({"cap.count": 0})
    with pytest.raises(SettingError, match=r"no setting of balancing copies\+cap 'cap\.cuont'; .*'cap\.count'"):
        balancings["copies+cap"].fill({"cap.cuont": 3})
