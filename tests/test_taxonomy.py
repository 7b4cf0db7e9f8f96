"""Taxonomies: what the files say, and what is said of a bad one."""

import re

import numpy as np
import pytest

from lesion.errors import SettingError
from lesion.taxonomy import Taxonomy, find_taxonomy, known_taxonomies

ISIC2017 = ("melanoma", "seborrheic_keratosis", "nevus")
ISIC2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def spelled(name, classes):
    taxonomy = Taxonomy.load(name)
    return {c: [taxonomy.words[word] for word in taxonomy.path(c)][:-1] for c in classes}


@pytest.mark.parametrize("name", known_taxonomies())
def test_every_taxonomy_spells_each_class_of_its_task_in_one_way(name):
    taxonomy = Taxonomy.load(name)
    classes = ISIC2017 if name.startswith("isic2017") else ISIC2018
    assert taxonomy.spelled.keys() == set(classes)
    paths = taxonomy.paths(classes)
    assert paths.shape == (len(classes), len(taxonomy.levels))
    assert len({tuple(path) for path in paths}) == len(classes)
    assert sorted(word for level in taxonomy.levels for word in level) == list(range(len(taxonomy.words)))
    for level, words in enumerate(taxonomy.levels):
        assert set(paths[:, level]) == set(words)


def test_two_levels_as_the_paper_has_them():
    assert spelled("isic2018", ISIC2018) == {
        c: ["melanocytic" if c in ("MEL", "NV") else "non-melanocytic"] for c in ISIC2018
    }
    assert spelled("isic2017", ISIC2017) == {
        "melanoma": ["melanocytic"], "nevus": ["melanocytic"], "seborrheic_keratosis": ["non-melanocytic"],
    }  # fmt: skip


@pytest.mark.parametrize("side", ["benign", "malignant"])
def test_three_levels_with_akiec_on_either_side(side):
    sides = {c: path[1] for c, path in spelled(f"isic2018_three_levels_akiec_{side}", ISIC2018).items()}
    assert sides == dict.fromkeys(("NV", "BKL", "DF", "VASC"), "benign") | dict.fromkeys(
        ("MEL", "BCC"), "malignant"
    ) | {"AKIEC": side}


def test_seborrheic_keratosis_stands_on_the_benign_side_as_bkl_does_and_akiec_on_either():
    sides = {}
    for taxonomy in map(Taxonomy.load, known_taxonomies()):
        for name, path in taxonomy.spelled.items():
            sides.setdefault(name, set()).update(path[1:-1])
    assert sides["seborrheic_keratosis"] == sides["BKL"] == {"benign"}
    assert sides["AKIEC"] == {"benign", "malignant"}


def test_a_word_in_two_places_of_a_level_is_one_word():
    taxonomy = Taxonomy.load("isic2017_three_levels_sk_benign")
    assert taxonomy.words == (
        "melanocytic", "non-melanocytic", "benign", "malignant", "nevus", "melanoma", "seborrheic_keratosis",
    )  # fmt: skip
    assert taxonomy.path("nevus")[1] == taxonomy.path("seborrheic_keratosis")[1]


def test_the_probability_of_a_word_is_the_sum_over_its_classes():
    taxonomy = Taxonomy.load("isic2018")
    p = np.array([0.1, 0.2, 0.05, 0.15, 0.25, 0.05, 0.2])
    first, second = p @ taxonomy.membership(ISIC2018)
    assert dict(zip(taxonomy.words, first.round(9), strict=True)) == {
        "melanocytic": 0.3, "non-melanocytic": 0.7, **dict.fromkeys(ISIC2018, 0.0),
    }  # fmt: skip
    assert np.allclose(second[2:], p)


@pytest.mark.parametrize("classes", [ISIC2017, ISIC2018, ISIC2018[::-1]])
def test_the_taxonomy_of_the_fewest_levels_is_found_by_its_classes(classes):
    found = find_taxonomy("auto", classes)
    assert found.name == ("isic2017" if "nevus" in classes else "isic2018")


def test_a_task_of_some_classes_needs_their_words_only():
    taxonomy = find_taxonomy("isic2018_three_levels_akiec_benign", ["NV", "BKL"])
    assert taxonomy.words == ("melanocytic", "non-melanocytic", "benign", "NV", "BKL")


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("auto", ["rest", "melanoma"], "no taxonomy is known for the classes rest, melanoma; known: isic2017, "),
        ("isic2018", ["MEL", "SCC"], "taxonomy isic2018: no class 'SCC'; known: AKIEC, BCC"),
        ("isic2019", ISIC2018, "no taxonomy 'isic2019'; known: isic2017, "),
        ("gone.yaml", ISIC2018, "taxonomy gone.yaml cannot be read: "),
    ],
)
def test_a_taxonomy_that_does_not_fit(name, classes, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        find_taxonomy(name, classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [x, y]\nb: [x]", "x stands there twice; a class has one path"),
        ("a: [x]\nb: {c: [y]}", "a → x has 2 levels and b → c → y has 3; all paths must be equally long"),
        ("a: [b]\nb: [c]", "b stands at levels [1, 2]; a word has one level"),
        ("a: [x]\na: [y]", "cannot be read: "),
        ("a: [1, 2]", "a holds [1, 2]; must hold words"),
        ("a: {b: []}", "a → b holds []; must hold words"),
        ("a: x", "a holds 'x'; must hold words"),
        ("[x, y]", "the file holds ['x', 'y']; must hold words"),
        ("", "the file holds None; must hold words"),
    ],
)
def test_bad_files(text, message, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(SettingError, match=re.escape(message)):
        Taxonomy.load(str(file))


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "own.yml"
    file.write_text("pigmented: [nevus, melanoma]\nother: [rest]\n")
    assert find_taxonomy(str(file), ["rest", "melanoma", "nevus"]).paths(["rest", "nevus"]).tolist() == [[1, 4], [0, 2]]
