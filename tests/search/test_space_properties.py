"""Properties of the language: what holds for every valid space, and for anything that is none."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from small_vocabulary import WORDS

from lesion.registry import Component, Setting
from search.errors import Mistake, SpaceError
from search.space import Space, load

optuna.logging.set_verbosity(optuna.logging.WARNING)
PROFILE = settings(deadline=None, max_examples=25, derandomize=True, database=None)


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that a setting may have; small vocabularies have ranges with a lower bound."""
    if setting.choices:
        return st.sampled_from(setting.choices)
    if str in setting.types:
        return st.sampled_from(["none", "imagenet", "a b", "true", "1"])
    if bool in setting.types:
        return st.booleans()
    low, high = bounds(setting)
    number = st.integers(int(low), int(high)) if int in setting.types else st.floats(low, high)
    return st.none() | number if type(None) in setting.types else number


def bounds(setting: Setting) -> tuple[float, float]:
    """Ends of the range, an open one cut off."""
    assert setting.range is not None
    assert setting.range.low is not None
    return setting.range.low, 50 if setting.range.high is None else setting.range.high


@st.composite
def ranges(draw: st.DrawFn, setting: Setting) -> Any:
    """A range within the bounds."""
    low, high = bounds(setting)
    if int in setting.types:
        ends = sorted(draw(st.sets(st.integers(int(low), int(high)), min_size=2, max_size=2)))
        extra = draw(st.sampled_from([{}, {"log": True}, {"step": ends[1] - ends[0]}, {"log": False, "step": 1}]))
        return {"int": ends, **extra}
    ends = sorted(draw(st.sets(st.floats(max(low, 1e-6), high), min_size=2, max_size=2)))
    return {"float": ends, **draw(st.sampled_from([{}, {"log": True}]))}


def domains(setting: Setting) -> st.SearchStrategy[Any]:
    """Fixed, a choice or a range."""
    choice = st.lists(values(setting), min_size=1, max_size=4, unique_by=lambda v: (isinstance(v, bool), v))
    either = values(setting) | choice.map(lambda options: {"choice": options})
    numeric = setting.range is not None and not setting.choices
    return either | ranges(setting) if numeric else either


@st.composite
def chosen_settings(draw: st.DrawFn, component: Component) -> dict[str, Any]:
    """Some of a component's settings, all that are required."""
    names = draw(st.sets(st.sampled_from(sorted(component.settings)))) if component.settings else set()
    names |= {s.name for s in component.settings.values() if s.required}
    return {name: draw(domains(component.settings[name])) for name in sorted(names)}


@st.composite
def components(draw: st.DrawFn, kind: str) -> Any:
    """A choice of components, or one."""
    registry = WORDS.kinds[kind]
    names = draw(st.sets(st.sampled_from(sorted(registry)), min_size=1))
    options = {name: draw(chosen_settings(registry[name])) for name in sorted(names)}
    return options if len(options) == 1 else {"choice": options}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """A whole valid file; images stay below 512 pixels, which every backbone takes."""
    kinds = draw(st.sets(st.sampled_from(sorted(WORDS.kinds))))
    space = draw(chosen_settings(WORDS.general)) | {kind: draw(components(kind)) for kind in sorted(kinds)}
    space |= {"image_size": draw(st.sampled_from([64, {"choice": [96, 64]}, {"int": [32, 512], "log": True}]))}
    budget = {"trials": draw(st.integers(1, 99)), "epochs": 4}
    return {
        "data": "d",
        "objective": "mean_auc",
        "budget": budget,
        "allow_double_balancing": True,
        "space": space,
    }


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same with keys and options in another order; the two ends of a range stay."""
    if isinstance(value, dict):
        keys = chance.sample(sorted(value), len(value))
        return {k: value[k] if k in ("float", "int") else shuffled(value[k], chance) for k in keys}
    return chance.sample(value, len(value)) if isinstance(value, list) else value


def read(text: str) -> Space:
    """The space of a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "my.yaml")
        path.write_text(text, encoding="utf-8")
        return load(path, vocabulary=WORDS)


@PROFILE
@given(files(), st.integers(0, 2**32 - 1))
def test_what_is_sampled_is_complete_and_stands_on_a_listed_branch(file: dict[str, Any], seed: int) -> None:
    space = read(json.dumps(file))
    branches = {branch.choices for branch in space.branches()}
    assert len(branches) == space.branch_count()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(3):
        trial = study.ask()
        flat = space.sample(trial)
        WORDS.resolve(flat)
        assert tuple((k, flat[k]) for k in WORDS.kinds if k in flat) in branches
        assert space.sample(FixedTrial(trial.params)) == flat
        assert set(trial.params) <= {p.name for p in space.parameters()}


@PROFILE
@given(files())
def test_every_branch_and_its_corners_can_be_sampled_and_resolved(file: dict[str, Any]) -> None:
    space = read(json.dumps(file))
    for branch in space.branches():
        for point in (space.example(branch), *space.corners(branch)):
            assert space.sample(FixedTrial(point)) == point
            WORDS.resolve(point)


@PROFILE
@given(files(), st.integers(0, 2**32 - 1))
def test_order_and_comments_mean_nothing(file: dict[str, Any], seed: int) -> None:
    text = json.dumps(shuffled(file, random.Random(seed)), indent=1).replace("\n", "  # a comment\n")
    first, second = read(json.dumps(file)), read(text)
    assert first.semantics() == second.semantics()
    assert first.hash == second.hash
    assert first.tree == second.tree


@PROFILE
@given(files())
def test_semantics_are_json_that_a_database_can_keep(file: dict[str, Any]) -> None:
    semantics = read(json.dumps(file)).semantics()
    assert json.loads(json.dumps(semantics, allow_nan=False)) == semantics


def mistakes_of(text: str) -> tuple[Mistake, ...]:
    """The mistakes of a text; any other exception is a fault of the reader."""
    try:
        read(text)
    except SpaceError as error:
        return error.mistakes
    return ()


words = st.sampled_from(
    [
        "choice",
        "float",
        "int",
        "log",
        "step",
        "focal",
        "weighted",
        "vgg",
        "depth",
        "gamma",
        "none",
        "asha",
        "loss",
        "trials",
        "true",
        "1e400",
        "~",
        "../x",
        "é",
    ]
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@PROFILE
@given(files(), junk, st.integers(0, 2**32 - 1))
def test_junk_anywhere_is_a_mistake_or_a_space(file: dict[str, Any], value: Any, seed: int) -> None:
    chance = random.Random(seed)
    spot: Any = file | {"start_with": [{"loss": "focal"}], "scheduler": {"asha": {"grace": 1}}, "seed": 1}
    whole = spot
    while True:
        key = chance.choice(list(spot) if isinstance(spot, dict) else range(len(spot)))
        if not spot[key] or not isinstance(spot[key], dict | list) or chance.random() < 0.3:
            break
        spot = spot[key]
    spot[key] = value
    found = mistakes_of(json.dumps(whole).replace("NaN", ".nan").replace("Infinity", ".inf"))
    assert all(mistake.line > 0 for mistake in found)


@PROFILE
@given(st.text(alphabet="abc:-[]{}#&*!|>'\"%@`, \n\t0123.~?<", max_size=60))
def test_no_short_text_is_a_space(text: str) -> None:
    assert mistakes_of(text)
