"""Taxonomies: a diagnosis spelled as a path of words, from the general to the particular.

A taxonomy is a small YAML file: words, indented by level, and under the last of them the classes, which are words too.
Each class has one path, and all paths are equally long:

>>> taxonomy = Taxonomy.load("isic2018")
>>> taxonomy.words
('melanocytic', 'non-melanocytic', 'MEL', 'NV', 'BCC', 'AKIEC', 'BKL', 'DF', 'VASC')
>>> [taxonomy.words[word] for word in taxonomy.path("BKL")]
['non-melanocytic', 'BKL']
>>> find_taxonomy("auto", ["nevus", "melanoma", "seborrheic_keratosis"]).name
'isic2017'

A word may stand in several places of one level ("benign" under "melanocytic" and under "non-melanocytic"): it is the
same word. Where a third level asks for a side that the paper does not give, the file's name says which it is. For AKIEC
none is agreed upon, and each side is a file. Seborrheic keratosis is benign, as is BKL, which holds it in ISIC 2018; no
file has it on the other side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lesion.errors import SettingError, unknown

SUFFIXES = (".yaml", ".yml")
_PACKAGED = files("lesion") / "taxonomies"


@dataclass(frozen=True)
class Taxonomy:
    """Words and the path of each class; `name` is what it was loaded as.

    `words` are ordered by level; a word is called by its position. `levels` are the words of each step of a path.
    """

    name: str
    spelled: Mapping[str, tuple[str, ...]]
    """The path of each class in words; its last word is the class."""

    @classmethod
    def load(cls, name: str) -> Taxonomy:
        """The taxonomy of a file (.yaml, .yml) or one of `known_taxonomies()`; SettingError says what is wrong."""
        tree = _read(name)
        paths = list(_paths(name, tree, ()))
        _check(name, paths)
        return cls(name, {path[-1]: path for path in paths})

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The words of each level."""
        sizes = [len(set(level)) for level in zip(*self.spelled.values(), strict=True)]
        ends = np.cumsum(sizes)
        return tuple(tuple(range(end - size, end)) for size, end in zip(sizes, ends, strict=True))

    @property
    def words(self) -> tuple[str, ...]:
        """Every word once."""
        return tuple(dict.fromkeys(chain(*zip(*self.spelled.values(), strict=True))))

    def path(self, class_name: str) -> tuple[int, ...]:
        """The words of one class, one of each level; SettingError for a class that the taxonomy does not have."""
        if class_name not in self.spelled:
            raise SettingError(f"taxonomy {self.name}: {unknown('class', class_name, self.spelled)}")
        words = self.words
        return tuple(words.index(word) for word in self.spelled[class_name])

    def paths(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """The paths of `classes`: (classes, levels)."""
        return np.array([self.path(name) for name in classes], dtype=np.int64).reshape(len(classes), len(self.levels))

    def membership(self, classes: Sequence[str]) -> NDArray[np.bool_]:
        """(levels, classes, words): whether the path of a class has that word at that level.

        With probabilities p (N, classes), ``p @ membership[level]`` are those of the words of a level.
        """
        steps = self.paths(classes).T[:, :, None]  # (levels, classes, 1)
        found: NDArray[np.bool_] = steps == np.arange(len(self.words))
        return found

    def of(self, classes: Sequence[str]) -> Taxonomy:
        """The taxonomy of these classes alone: words that none of them needs are gone."""
        for name in classes:
            self.path(name)
        return Taxonomy(self.name, {name: path for name, path in self.spelled.items() if name in classes})


def known_taxonomies() -> list[str]:
    """The names of those that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _PACKAGED.iterdir() if file.name.endswith(".yaml"))


def find_taxonomy(name: str, classes: Sequence[str]) -> Taxonomy:
    """The taxonomy called `name`, of these classes alone; "auto" is the one of the fewest levels that has just these.

    Raises SettingError when a class has no path, or none of the known ones fits.
    """
    if name != "auto":
        return Taxonomy.load(name).of(classes)
    every = [Taxonomy.load(known) for known in known_taxonomies()]
    fitting = [taxonomy for taxonomy in every if taxonomy.spelled.keys() == set(classes)]
    if not fitting:
        raise SettingError(
            f"no taxonomy is known for the classes {', '.join(classes)}; known: {', '.join(t.name for t in every)}; "
            "write one as a YAML file (words, indented by level, each class once at the end) and give its path"
        )
    return min(fitting, key=lambda taxonomy: len(taxonomy.levels))


def _read(name: str) -> Any:
    packaged = not name.endswith(SUFFIXES)
    if packaged and name not in known_taxonomies():
        raise SettingError(f"{unknown('taxonomy', name, known_taxonomies())}; a file ends in {' or '.join(SUFFIXES)}")
    try:
        text = (_PACKAGED / f"{name}.yaml" if packaged else Path(name)).read_text("utf-8")
        return YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeDecodeError, YAMLError) as problem:
        raise SettingError(f"taxonomy {name} cannot be read: {' '.join(str(problem).split())}") from problem


def _paths(name: str, tree: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of words from the root to every class of a tree of mappings that ends in lists."""
    if isinstance(tree, Mapping) and tree:
        for word, below in tree.items():
            yield from _paths(name, below, (*above, str(word)))
    elif isinstance(tree, list) and tree and above and all(isinstance(leaf, str) for leaf in tree):
        yield from ((*above, leaf) for leaf in tree)
    else:
        raise SettingError(
            f"taxonomy {name}: {' → '.join(above) or 'the file'} holds {tree!r}; "
            "must hold words with more below each, or at the end a list of classes"
        )


def _check(name: str, paths: Sequence[tuple[str, ...]]) -> None:
    leaves = [path[-1] for path in paths]
    if twice := sorted({leaf for leaf in leaves if leaves.count(leaf) > 1}):
        raise SettingError(f"taxonomy {name}: {', '.join(twice)} stands there twice; a class has one path")
    if len({len(path) for path in paths}) > 1:
        short, long = min(paths, key=len), max(paths, key=len)
        raise SettingError(
            f"taxonomy {name}: {' → '.join(short)} has {len(short)} levels and {' → '.join(long)} has {len(long)}; "
            "all paths must be equally long"
        )
    at: dict[str, set[int]] = {}
    for path in paths:
        for level, word in enumerate(path):
            at.setdefault(word, set()).add(level + 1)
    if moved := sorted(word for word, levels in at.items() if len(levels) > 1):
        raise SettingError(f"taxonomy {name}: {moved[0]} stands at levels {sorted(at[moved[0]])}; a word has one level")
