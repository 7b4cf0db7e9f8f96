"""Searches on recorded curves: lookup, one replay, the comparison, and the command."""

import json
import random
from pathlib import Path

import pytest

from search.cli import main
from search.errors import SimulationError
from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.simulation import Curve, Recorded, compare, read_curves, replay, space_of_study, write_curves
from search.simulation.comparison import METHODS, target_of
from search.space import Asha, Space, load
from search.workspace import open_workspace

SPACE = """
data: tiny
objective: mean_auc
budget: {trials: 12, epochs: 4}
scheduler: {asha: {grace: 1, reduction: 2}}
seed: 3
space:
  image_size: 32
  optimizer: {choice: {adamw: {lr: {float: [1.0e-4, 1.0e-1], log: true}}}}
  loss: {choice: {cross_entropy: , focal: {gamma: {float: [0.5, 3.0]}}}}
"""


@pytest.fixture
def space(tmp_path: Path) -> Space:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    return load(tmp_path / "tiny.yaml")


def curve_of(lr: float, loss: str = "cross_entropy", gamma: float = 1.0) -> Curve:
    """Better the nearer lr is to 1e-2, a little better with focal loss."""
    settings = {"image_size": 32, "optimizer": "adamw", "optimizer.adamw.lr": lr, "loss": loss}
    settings |= {"loss.focal.gamma": gamma} if loss == "focal" else {}
    level = 0.9 - abs(len(f"{1 / lr:.0f}") - 3) * 0.1 - (0.02 if loss == "cross_entropy" else 0.0)
    return Curve(settings, tuple(level * (1 - 0.5**epoch) for epoch in (1, 2, 3, 4)), 10.0)


def many(count: int = 60) -> list[Curve]:
    rng = random.Random(0)
    return [curve_of(10 ** rng.uniform(-4, -1), rng.choice(("cross_entropy", "focal"))) for _ in range(count)]


def test_a_trial_gets_the_curve_that_is_most_like_it() -> None:
    far, near = curve_of(1e-4), curve_of(1e-2)
    focal = [curve_of(1e-4, "focal", gamma) for gamma in (0.5, 3.0)]
    recorded = Recorded([far, near, *focal, curve_of(1e-1)], epochs=4)
    # On a log scale 3e-3 is nearer to 1e-2 than to 1e-4; plainly it is the other way round.
    assert recorded.curve(curve_of(3e-3).settings) == near
    assert recorded.curve(curve_of(3e-4, "focal", 2.6).settings) == focal[1]


def test_a_curve_that_was_stopped_goes_on_flat() -> None:
    short = Curve(curve_of(1e-2).settings, (0.3, 0.5), 10.0, whole=False)
    recorded = Recorded([short, *(curve_of(lr) for lr in (1e-4, 3e-4, 1e-3, 1e-1))], epochs=4)
    assert recorded.curve(short.settings).values == (0.3, 0.5, 0.5, 0.5)


def test_a_replay_spends_what_its_trials_train(space: Space) -> None:
    recorded = Recorded(many(), 4)
    whole = replay(space, recorded, sampler="random", asha=None, trials=10, workers=2, seed=1)
    assert [moment.epochs for moment in whole] == list(range(1, 41))
    assert whole[-1].seconds == 10 * 4 * 10.0 / 2
    assert [moment.best for moment in whole] == sorted(moment.best for moment in whole)
    stopped = replay(space, recorded, sampler="tpe", asha=Asha(1, 2), trials=10, workers=2, seed=2)
    assert 10 < stopped[-1].epochs < 40
    assert stopped == replay(space, recorded, sampler="tpe", asha=Asha(1, 2), trials=10, workers=2, seed=2)


def test_methods_are_compared_on_the_same_terms(space: Space) -> None:
    recorded = Recorded(many(), 4)
    target = target_of(recorded, "maximize")
    done: list[tuple[int, int, str]] = []
    outcomes = compare(
        space, recorded, target=target, trials=12, workers=2, repeats=3, progress=lambda *told: done.append(told)
    )
    assert [outcome.method for outcome in outcomes] == list(METHODS)
    assert done[-1] == (3, 3, "tpe, ASHA")
    plain, stopped = outcomes[0], outcomes[1]
    assert (plain.total, plain.ratio) == (48, 1.0 if plain.epochs else None)
    assert stopped.total < plain.total
    hopeless = compare(space, recorded, target=2.0, trials=6, workers=2, repeats=2, methods=METHODS[:1])
    assert (hopeless[0].reached, hopeless[0].epochs, hopeless[0].ratio) == (0.0, None, None)


def test_curves_are_written_and_read(tmp_path: Path) -> None:
    write_curves(tmp_path / "curves.json", many(5))
    assert read_curves(tmp_path / "curves.json") == many(5)
    (tmp_path / "old.json").write_text('{"format": 9}')
    with pytest.raises(SimulationError, match="format 9, this version reads format 1"):
        read_curves(tmp_path / "old.json")
    (tmp_path / "torn.json").write_text('{"format"')
    with pytest.raises(SimulationError, match=r"torn.json is no file of curves"):
        read_curves(tmp_path / "torn.json")
    with pytest.raises(SimulationError, match="4 recorded curves are too few"):
        Recorded(many(4), 4)


def test_the_space_of_a_study_is_read_again_from_its_ledger(space: Space) -> None:
    again = space_of_study(space.semantics(), space.objective, 12)
    assert again.semantics() == space.semantics()


def test_the_command(space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = open_workspace(tmp_path / "workspace")
    identity = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", space.semantics())
    ledger = open_ledger(place.ledger_url, "tiny", identity, 3)
    for _ in range(5):
        row = ledger.ask(space)
        ledger.report(row.number, 1, 0.5 + row.number / 100)
        ledger.finish(row.number, Ending("complete", 2, 0.6 + row.number / 100), seconds=8.0)
    options = ["--workspace", str(place.path)]
    assert main(["simulate", "tiny", "--export", str(tmp_path / "curves.json"), *options]) == 0
    assert [curve.seconds for curve in read_curves(tmp_path / "curves.json")] == [4.0] * 5
    capsys.readouterr()
    arguments = ["--curves", str(tmp_path / "curves.json"), "--repeats", "1", "--trials", "3", "--json", *options]
    assert main(["simulate", str(space.path), *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["method"] for each in shown["methods"]] == [method.name for method in METHODS]
    assert shown["curves"] == 5
    assert main(["simulate", "tiny", "--repeats", "1", *options]) == 0
    assert "times cheaper" in capsys.readouterr().out
    assert main(["simulate", "nobody", *options]) == 2
