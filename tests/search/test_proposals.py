"""Proposals from a long study: what they are made from, and that a short one is seen whole."""

import random
import warnings
from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search import proposals
from search.proposals import BEST, NEWEST, History, Proposal
from search.space.space import SAMPLERS, Sampler

SPACE: dict[str, Any] = {"lr": FloatDistribution(0.0, 1.0), "loss": CategoricalDistribution(("focal", "plain"))}


def study_of(count: int, seed: int = 0) -> optuna.Study:
    """A maximised study whose every third row is pruned after one of two epochs."""
    rng = random.Random(seed)
    study = optuna.create_study(direction="maximize")
    trials = []
    for number in range(count):
        state = TrialState.PRUNED if number % 3 else TrialState.COMPLETE
        value, lr = rng.random(), rng.random()
        history = {1: value} if state == TrialState.PRUNED else {1: value / 2, 2: value}
        params = {"lr": lr, "loss": rng.choice(("focal", "plain"))}
        trials.append(create_trial(
            state=state, value=value, params=params, distributions=SPACE, intermediate_values=history
        ))  # fmt: skip
    study.add_trials(trials)
    return study


def proposed(study: optuna.Study, sampler: Any) -> dict[str, Any]:
    study.sampler = sampler
    trial = study.ask()
    return {"lr": trial.suggest_float("lr", 0.0, 1.0), "loss": trial.suggest_categorical("loss", ("focal", "plain"))}


def test_a_short_study_gets_what_optuna_would_propose() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=5)
    ours = Proposal(5, History("maximize"))
    assert proposed(study_of(40), ours) == proposed(study_of(40), plain)


def branching(trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    """Parameters of three groups: those of all rows, and those of either loss."""
    trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    if trial.suggest_categorical("loss", ("focal", "plain")) == "focal":
        trial.suggest_float("gamma", 0.0, 5.0)
    else:
        trial.suggest_float("smoothing", 0.0, 0.2)
    return dict(trial.params)


def branching_study() -> optuna.Study:
    """Sixty complete rows of the space above."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(lambda trial: branching(trial)["lr"] + trial.params.get("gamma", 0.0), n_trials=60)
    return study


def test_groups_of_branches_get_what_optuna_would_propose() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=5)
    proposed = []
    for sampler in (Proposal(5, History("maximize")), plain):
        study = branching_study()
        study.sampler = sampler
        proposed.append(branching(study.ask()))
    assert proposed[0] == proposed[1]


def test_rows_are_divided_into_good_ones_and_others_once_for_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    study = branching_study()
    divided: list[int] = []
    divide = proposals._split_trials
    monkeypatch.setattr(
        proposals, "_split_trials", lambda study, rows, best: divided.append(len(rows)) or divide(study, rows, best)
    )
    study.sampler = Proposal(5, History("maximize"))
    branching(study.ask())
    assert divided == [60]


@pytest.mark.parametrize("count", [NEWEST, NEWEST + 300])
def test_the_best_the_newest_and_what_runs_are_kept(count: int) -> None:
    study = study_of(count)
    running = study.ask()
    trials = study.get_trials(deepcopy=False)
    kept = [trial.number for trial in History("maximize").of(trials)]
    assert kept == sorted(kept)
    assert running.number in kept
    assert set(range(count - NEWEST, count)) <= set(kept)
    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: -t.value)[:BEST]
    assert {trial.number for trial in complete} <= set(kept)
    assert len(kept) <= NEWEST + 2 * BEST + 1


def test_what_is_proposed_depends_on_the_rows_alone() -> None:
    history = History("maximize")
    study = study_of(NEWEST + 100)
    history.of(study.get_trials(deepcopy=False)[: NEWEST + 50])  # a session that began earlier
    other = study_of(NEWEST + 100)
    assert proposed(study, Proposal(3, history)) == proposed(other, Proposal(3, History("maximize")))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_proposal_reads_the_study_once(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(NEWEST + 100)
    read = []
    whole = study.get_trials
    monkeypatch.setattr(study, "get_trials", lambda **options: read.append(1) or whole(**options))
    study.sampler = Proposal(0, History("maximize"), sampler)
    trial = study.ask(SPACE)
    assert (len(read), set(trial.params)) == (1, {"lr", "loss"})


def test_a_running_row_counts_with_the_settings_that_it_took() -> None:
    """Nothing is noted for other drivers, and no note that there is, of branches not taken, is read."""
    plain, noted = study_of(40), study_of(40)
    for study in (plain, noted):
        proposed(study, Proposal(1, History("maximize")))
    running = noted.get_trials(deepcopy=False)[-1]
    assert (running.state, running.system_attrs) == (TrialState.RUNNING, {})
    noted._storage.set_trial_system_attr(running._trial_id, "tpe:relative_params:0", '{"lr": 0.01, "loss": "focal"}')
    ours = [proposed(study, Proposal(2, History("maximize"))) for study in (plain, noted)]
    assert ours[0] == ours[1]


def begun(trials: int, options: int, seed: int = 0, sampler: Sampler = "tpe") -> list[str]:
    """What the first trials of a study have of one component."""
    study = optuna.create_study(direction="maximize")
    heads = []
    for number in range(trials):
        study.sampler = Proposal(seed + number, History("maximize"), sampler)
        trial = study.ask()
        heads.append(trial.suggest_categorical("head", [f"head{option}" for option in range(options)]))
        study.tell(trial, random.Random(number).random() + (heads[-1] == "head0"))
    return heads


@pytest.mark.parametrize("seed", range(5))
def test_the_first_proposals_try_every_option(seed: int) -> None:
    assert len(set(begun(7, 7, seed))) == 7
    assert len(set(begun(10, 12, seed))) == 10
    assert sorted(begun(10, 2, seed)).count("head0") == 5


def test_a_random_sampler_tries_every_option_as_often_whatever_is_good() -> None:
    evenly = Counter(begun(42, 7, sampler="random"))
    assert set(evenly.values()) == {6}
    assert Counter(begun(42, 7))["head0"] > 12  # TPE stays with the best


def test_a_random_sampler_does_not_make_up_for_what_was_proposed_before() -> None:
    """If it did, options that TPE favoured would never be proposed again, in all components at once."""
    study = optuna.create_study(direction="maximize")
    space = {name: CategoricalDistribution([f"{name}{option}" for option in range(4)]) for name in ("head", "loss")}
    for _ in range(28):
        study.add_trial(create_trial(value=1.0, params={"head": "head0", "loss": "loss0"}, distributions=space))
    together = Counter()
    for number in range(60):
        study.sampler = Proposal(number, History("maximize"), "random")
        trial = study.ask()
        pair = tuple(trial.suggest_categorical(name, each.choices) for name, each in space.items())
        together[pair[0] == "head0", pair[1] == "loss0"] += 1
        study.tell(trial, 0.5)
    assert together[True, True] + together[True, False] == 15
    assert min(together[True, False], together[False, True]) > 5


def test_they_try_them_in_an_order_of_their_own() -> None:
    assert len({tuple(begun(4, 4, seed)) for seed in range(0, 100, 10)}) > 5


def test_a_first_proposal_that_is_completed_later_is_what_it_would_have_been() -> None:
    options = [f"loss{option}" for option in range(7)]
    study = optuna.create_study(direction="maximize")
    rows = [study.ask() for _ in range(3)]
    for row in (rows[0], rows[2], rows[1]):
        study.sampler = Proposal(row.number, History("maximize"))
        row.suggest_categorical("loss", options)
    alone = optuna.create_study(direction="maximize")
    again = [alone.ask() for _ in range(2)]
    for row in again:
        alone.sampler = Proposal(row.number, History("maximize"))
        row.suggest_categorical("loss", options)
    assert [row.params for row in rows[:2]] == [row.params for row in again]
