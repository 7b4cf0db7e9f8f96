"""Promotion with gates, rollback and history, on a drawn study whose models have learnt next to nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_study import searched, workspace_with_data

from lesion.data.packed import open_data, open_test
from lesion.predictor import Predictor
from search import cli, promotion, proposal
from search.errors import PromotionBlockedError, PromotionError
from search.gates import read_gates
from search.moves import MOVES
from search.promotion import model_folder, promote, rehearse
from search.proposal import Proposal
from search.registered import Registry
from search.versions import alone, history, rollback
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
OPEN = "calibration: temperature\ndecisions: balanced\noperating_point: {sensitivity: 0.9}\n"
"""Gates that stop nothing."""
PEOPLE = "subgroups: {columns: [sex, site], images: 15, per_class: 3, below_all: 0.15, by: high%s}\n"
"""Groups of people, as the package's own gates judge them, of the few people here: nothing is known of sites."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = workspace_with_data(tmp_path_factory.mktemp("gates"), test_images=60)
    searched(place, open_data(place.path, "drawn"))
    return place


@pytest.fixture(scope="module")
def files(place: Workspace) -> dict[str, Path]:
    texts = {
        "open": OPEN,
        "closed": OPEN + "metrics: {accuracy: {at_least: 1.0}}\nsensitivity: {specificity: 0.8, at_least: 0}\n",
        "champion": OPEN + "champion: {metrics: accuracy}\n",
        "people": PEOPLE % "",
        "few": (PEOPLE % "").replace("images: 15", "images: 500"),
        "required": PEOPLE % ", required: true",
    }
    for name, text in texts.items():
        (place.path.parent / f"{name}.yaml").write_text(text)
    return {name: place.path.parent / f"{name}.yaml" for name in texts}


def client_of(place: Workspace):
    return Registry(place.tracking_uri, place.artifacts).client


def aliases(place: Workspace, name: str) -> dict[str, int]:
    return {alias: int(at) for alias, at in client_of(place).get_registered_model(name).aliases.items()}


@pytest.fixture
def settled(place: Workspace, files: dict[str, Path]) -> str:
    """A registered model of one version, which is the champion."""
    assert promote("drawn", place, model="settled", views=2, gates=files["open"]).champion
    return "settled"


def plant(place: Workspace, probabilities: np.ndarray, *, views: int, ensemble: int) -> None:
    """Let models of so many views and trials answer the test part with `probabilities`: kept, as if computed."""
    asked = Proposal.of("drawn", place, None, ensemble, None, views, read_gates(), None, None)
    selection, _ = asked.selected()
    asked.reports.mkdir(parents=True, exist_ok=True)
    np.save(asked.reports / f"tested-{asked.tested_as(selection)[:12]}.npy", probabilities)


def sure_of(labels: np.ndarray) -> np.ndarray:
    """Probabilities so sure of these labels that no weights of decisions change one."""
    return np.where(np.eye(3)[labels] > 0, 0.9998, 0.0001)


def test_a_gate_that_fails_leaves_the_alias_where_it_is_and_a_later_judgement_opens_nothing(place, files, monkeypatch):
    stopped = promote("drawn", place, model="judged", views=2, gates=files["closed"])
    assert (stopped.passed, stopped.champion, stopped.uri) == (False, False, "models:/judged/1")
    assert "stopped by accuracy: there is no champion yet" in stopped.message
    assert aliases(place, "judged") == {}
    version = client_of(place).get_model_version("judged", "1")
    assert version.tags["lesion.gates"] == "stopped by accuracy"
    assert version.tags["lesion.stopped_by"] == "accuracy"
    assert version.tags["lesion.gate.accuracy"].startswith("failed: ")
    assert version.tags["lesion.gate.sensitivity at specificity 0.80 melanoma"].startswith("passed: ")
    assert "Not a medical device" in version.description
    assert "Gates: stopped by accuracy." in version.description
    evidence = {file.path for file in client_of(place).list_artifacts(stopped.run_id, "evidence")}
    assert {"evidence/gates.json", "evidence/model_card.md"} <= evidence

    # The same trials, other gates: judged anew by what is known.
    monkeypatch.setattr(proposal, "open_test_of", lambda *_: pytest.fail("the test part was opened a second time"))
    passed = promote("drawn", place, model="judged", views=2, gates=files["open"])
    assert (passed.repeated, passed.passed, passed.uri) == (True, True, "models:/judged@champion")
    assert (passed.version, passed.metrics) == (stopped.version, stopped.metrics)
    np.testing.assert_array_equal(passed.test.probabilities, stopped.test.probabilities)
    assert str(passed.test.intervals) == str(stopped.test.intervals)  # NaN is not itself
    again = promote("drawn", place, model="judged", views=2, gates=files["closed"])
    assert (again.passed, again.champion) == (False, True)
    assert "it was the champion before and stays it" in again.message
    assert len(history("judged", place).moves) == 1

    # What was set on validation is stored, and gives the figures that were judged.
    monkeypatch.undo()
    predictor = Predictor.load(model_folder(passed.uri, place))
    point, found = predictor.rules.operating_point, passed.flagging
    assert passed.point == point
    positive = passed.test.labels == passed.test.classes.index("melanoma")
    flagged = point.flagged(passed.test.probabilities, passed.test.classes)
    assert found.sensitivity.value == pytest.approx(flagged[positive].mean())
    assert found.specificity.value == pytest.approx(1 - flagged[~positive].mean())
    registry = Registry(place.tracking_uri, place.artifacts)
    kept = json.loads(registry.evidence(passed.run_id, "operating_point.json").read_text())
    assert kept == found.to_dict()
    card = registry.evidence(passed.run_id, "model_card.md").read_text(encoding="utf-8")
    assert f"On the test part that threshold has {found}" in card
    table = pd.read_csv(registry.evidence(passed.run_id, "test/per_image.csv"))
    assert table["flagged"].tolist() == flagged.tolist()
    assert predictor.class_weights is None
    assert predictor.rules.decision_weights == passed.test.decision_weights
    assert predictor.rules.operating_point.sensitivity >= 0.9
    test = open_test(place.path, "drawn")
    np.testing.assert_allclose(predictor.predict(test.images), passed.test.probabilities, atol=1e-12)


def test_other_rules_for_the_same_trials_are_a_new_version_that_opens_nothing_anew(place, files, tmp_path):
    first = promote("drawn", place, model="rules", views=2, gates=files["open"])
    kept = {path: path.stat().st_mtime_ns for path in (place.reports / "drawn").glob("tested-*.npy")}
    (tmp_path / "plain.yaml").write_text("decisions: largest\n")
    second = promote("drawn", place, model="rules", views=2, gates=tmp_path / "plain.yaml")
    assert (second.version, second.opened) == (first.version + 1, first.opened)
    assert {path: path.stat().st_mtime_ns for path in (place.reports / "drawn").glob("tested-*.npy")} == kept
    assert second.test.decision_weights is None
    assert aliases(place, "rules") == {"champion": second.version, "previous": first.version}


def test_a_rehearsal_of_other_rules_for_the_same_trials_announces_no_opening(place, files, tmp_path, capsys):
    (tmp_path / "plain.yaml").write_text("decisions: largest\n")
    words = ["promote", "drawn", "--workspace", str(place.path), "--model", "again", "--dry-run"]
    assert cli.main([*words, "--views", "4", "--gates", str(files["open"])]) == 0
    assert "; this would be one more" in " ".join(capsys.readouterr().out.split())
    first = promote("drawn", place, model="again", views=4, gates=files["open"])
    other = [*words, "--views", "4", "--gates", str(tmp_path / "plain.yaml")]
    assert cli.main(other) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"has scored {first.opened.models}, these trials among them: it would not be opened anew" in said
    assert "this would be one more" not in said
    assert cli.main([*other, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scored"] is True
    # What the run in MLflow tells is enough: as from another workspace.
    for kept in (place.reports / "drawn").glob("tested-*"):
        kept.rename(tmp_path / kept.name)
    try:
        assert rehearse("drawn", place, model="again", views=4, gates=tmp_path / "plain.yaml").scored
        assert not rehearse("drawn", place, model="again", ensemble=1, views=8, gates=files["open"]).scored
    finally:
        for kept in tmp_path.glob("tested-*"):
            kept.rename(place.reports / "drawn" / kept.name)


def test_a_model_that_is_worse_than_the_champion_is_stopped_and_rollback_goes_both_ways(place, files):
    # A first model that knows the test part by heart, and a second that is never right.
    labels = open_test(place.path, "drawn").labels
    plant(place, sure_of(labels), views=8, ensemble=5)
    plant(place, sure_of((labels + 1) % 3), views=4, ensemble=1)
    first = promote("drawn", place, model="ranked", views=8, gates=files["champion"])
    assert (first.passed, first.champion, first.metrics["accuracy"][0]) == (True, True, 1.0)
    assert "; gates passed, 1 not judged: champion" in first.message
    stopped = promote("drawn", place, model="ranked", views=4, ensemble=1, gates=files["champion"])
    assert (stopped.passed, stopped.champion, stopped.metrics["accuracy"][0]) == (False, False, 0.0)
    (verdict,) = stopped.verdicts
    assert (verdict.gate, verdict.outcome) == (f"accuracy against version {first.version}", "failed")
    assert verdict.interval.value == -1.0
    assert aliases(place, "ranked") == {"champion": first.version}
    with pytest.raises(PromotionError, match=f"cannot be the champion: {verdict.gate} stopped it"):
        rollback("ranked", place, to=stopped.version)

    second = promote("drawn", place, model="ranked", views=4, ensemble=1, gates=files["open"])
    assert second.version == stopped.version
    assert aliases(place, "ranked") == {"champion": second.version, "previous": first.version}
    move = rollback("ranked", place)
    assert (move.to, move.before) == (first.version, second.version)
    assert aliases(place, "ranked") == {"champion": first.version, "previous": second.version}
    rollback("ranked", place)
    rollback("ranked", place, to=first.version)
    assert aliases(place, "ranked") == {"champion": first.version, "previous": second.version}
    told = history("ranked", place)
    assert [version.number for version in told.versions] == [second.version, first.version]
    assert [version.aliases for version in told.versions] == [("previous",), ("champion",)]
    assert [move.to for move in told.moves] == [1, 2, 1, 2, 1]
    assert told.moves[-1].before is None
    assert len(client_of(place).get_registered_model("ranked").tags[MOVES]) < 5000


def test_a_model_that_fails_women_is_stopped_and_the_champion_stays(place, files, capsys):
    test = open_test(place.path, "drawn")
    women = (test.table["sex"] == "female").to_numpy()
    assert women.sum() >= 15
    assert set(test.table["site"]) == {"unknown"}
    plant(place, sure_of(test.labels), views=1, ensemble=5)
    plant(place, sure_of(np.where(women, (test.labels + 1) % 3, test.labels)), views=1, ensemble=1)
    words = ["promote", "drawn", "--model", "fair", "--views", "1", "--workspace", str(place.path)]
    assert cli.main([*words, "--gates", str(files["people"])]) == 0
    assert "gates passed, 1 not judged: subgroups by site" in " ".join(capsys.readouterr().out.split())
    assert aliases(place, "fair") == {"champion": 1}
    assert cli.main([*words, "--gates", str(files["few"]), "--dry-run"]) == 0
    assert "sex female: not judged, " in (told := " ".join(capsys.readouterr().out.split()))
    assert "images, at least 500 are judged" in told

    assert cli.main([*words, "--ensemble", "1", "--gates", str(files["people"])]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "stopped by sex female, 1 not judged: subgroups by site: the champion stays what it was" in told
    assert f"sex female: balanced accuracy 0.000 on {women.sum()} images" in told
    assert aliases(place, "fair") == {"champion": 1}
    first, second = (client_of(place).get_model_version("fair", number) for number in "12")
    assert (first.tags["lesion.gates"], first.tags["lesion.stopped_by"]) == (
        "passed, 1 not judged: subgroups by site", ""
    )  # fmt: skip
    assert second.tags["lesion.gates"] == "stopped by sex female, 1 not judged: subgroups by site"
    assert second.tags["lesion.stopped_by"] == "sex female"
    assert second.tags["lesion.gate.sex female"].startswith("failed: ")
    assert second.tags["lesion.gate.sex male"].startswith("passed: ")
    assert "Gates: stopped by sex female, " in second.description
    assert cli.main(["history", "fair", "--workspace", str(place.path), "--json"]) == 0
    newest, oldest = json.loads(capsys.readouterr().out)["versions"]
    assert [newest["gates"], oldest["gates"]] == [second.tags["lesion.gates"], first.tags["lesion.gates"]]

    # The good one again, where nobody may be passed over: what was not judged stops it now.
    assert cli.main([*words, "--gates", str(files["required"]), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["told"], told["version"]) == ("stopped by subgroups by site", 1)
    with pytest.raises(PromotionError, match="cannot be the champion: sex female stopped it"):
        rollback("fair", place, to=2)


def test_the_card_is_whole_as_evidence_and_a_description_that_is_cut_says_so(place, settled):
    registry = Registry(place.tracking_uri, place.artifacts)
    version = registry.client.get_model_version(settled, "1")
    card = registry.evidence(version.run_id, "model_card.md").read_text(encoding="utf-8")
    for title in ("Intended use", "Limits", "Results on the test part", "Gates", "Groups of people", "Model", "Data"):
        assert f"\n## {title}\n" in card
    assert "\n## Limits\n" in version.description
    with pytest.raises(PromotionError, match=r"the evidence nothing\.json of run .* is lost") as lost:
        registry.evidence(version.run_id, "nothing.json")
    assert not isinstance(lost.value, PromotionBlockedError)  # no server to wait for
    registry.describe(settled, 1, "x" * 6000)
    cut = registry.client.get_model_version(settled, "1").description
    assert (len(cut), cut.endswith("x\n\n[cut here: MLflow holds no more]")) == (5000, True)


def test_a_registered_model_says_what_it_is_and_keeps_what_somebody_wrote(place, files, settled):
    client = client_of(place)
    told = client.get_registered_model(settled).description
    assert "not a medical device" in told.lower()
    assert "`evidence/model_card.md`" in told
    again = {"model": settled, "views": 2, "gates": files["open"]}
    for before, after in (("", told), ("Ours, for teaching.", "Ours, for teaching.")):
        client.update_registered_model(settled, before)
        assert promote("drawn", place, **again).repeated
        assert client.get_registered_model(settled).description == after


def test_a_version_that_no_gate_has_judged_is_not_rolled_back_to(place, files, monkeypatch):
    """`promote` killed between registration and judgement."""
    promote("drawn", place, model="unjudged", views=2, gates=files["open"])
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_write_down", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote("drawn", place, model="unjudged", views=1, gates=files["closed"])
    assert history("unjudged", place).versions[0].gates == ""
    with pytest.raises(PromotionError, match=r"no gate has judged version 2 of unjudged: .* --model unjudged"):
        rollback("unjudged", place, to=2)
    client_of(place).set_registered_model_alias("unjudged", "previous", "2")  # as somebody does by hand
    with pytest.raises(PromotionError, match="no gate has judged version 2"):
        rollback("unjudged", place)
    assert aliases(place, "unjudged")["champion"] == 1
    promote("drawn", place, model="unjudged", views=1, gates=files["open"])
    assert rollback("unjudged", place).to == 1


def test_a_former_champion_that_stricter_gates_have_stopped_does_not_come_back(place, files):
    first = promote("drawn", place, model="former", views=2, gates=files["open"])
    promote("drawn", place, model="former", views=1, gates=files["open"])
    promote("drawn", place, model="former", views=2, gates=files["closed"])
    assert aliases(place, "former") == {"champion": 2, "previous": first.version}
    for to in (None, first.version):
        with pytest.raises(PromotionError, match=r"cannot be the champion: accuracy stopped it \(closed.yaml [0-9a-f]"):
            rollback("former", place, to=to)
    assert aliases(place, "former") == {"champion": 2, "previous": first.version}
    assert [move.to for move in history("former", place).moves] == [2, 1]


def test_laxer_gates_do_not_make_a_refusal_unsaid(place, files, capsys):
    words = ["promote", "drawn", "--model", "twice", "--views", "2", "--workspace", str(place.path)]
    assert cli.main([*words, "--gates", str(files["closed"])]) == 1
    assert cli.main([*words, "--gates", str(files["open"])]) == 0
    assert "note: version 1 was stopped by accuracy (closed.yaml " in " ".join(capsys.readouterr().out.split())
    assert cli.main([*words, "--gates", str(files["open"])]) == 0  # the same once more is no other judgement
    capsys.readouterr()
    (version,) = history("twice", place).versions
    digests = {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in ("closed", "open")}
    assert [(each.file, each.digest, each.told) for each in version.judgements] == [
        ("closed.yaml", digests["closed"][:12], "stopped by accuracy"),
        ("open.yaml", digests["open"][:12], "none asked"),
    ]
    assert all(each.at.startswith("20") for each in version.judgements)
    registry = Registry(place.tracking_uri, place.artifacts)
    found = registry.client.get_model_version("twice", "1")
    card = registry.evidence(found.run_id, "model_card.md").read_text(encoding="utf-8")
    for text in (card, found.description):
        assert "Gates: none asked. **Stopped once before**, last by closed.yaml " in text.splitlines()[1]
    assert f"| closed.yaml | {digests['closed'][:12]} | stopped by accuracy |" in card
    kept = [file.path for file in registry.client.list_artifacts(found.run_id, "evidence") if "/gates-" in file.path]
    told = [json.loads(registry.evidence(found.run_id, path.rpartition("/")[2]).read_text()) for path in sorted(kept)]
    assert sorted(each["digest"] for each in told) == sorted(digests.values())
    assert cli.main(["history", "twice", "--workspace", str(place.path)]) == 0
    shown = capsys.readouterr().out
    assert "judgements" in shown
    assert "stopped by accuracy" in shown


def test_what_cannot_be_rolled_back(place, settled):
    assert aliases(place, settled) == {"champion": 1}
    with pytest.raises(PromotionError, match="settled has no version before its champion"):
        rollback(settled, place)
    with pytest.raises(PromotionError, match="settled has no version 7; it has 1"):
        rollback(settled, place, to=7)
    with pytest.raises(PromotionError, match="version 1 of settled is the champion already"):
        rollback(settled, place, to=1)
    with pytest.raises(PromotionError, match="no model 'nobody'"):
        rollback("nobody", place)
    with (
        alone(place, settled),
        pytest.raises(PromotionBlockedError, match="is being promoted, or rolled back, by another process"),
    ):
        rollback(settled, place)


def test_a_second_promotion_at_the_same_time_is_told_so_before_the_test_part_is_opened(place, monkeypatch):
    monkeypatch.setattr(proposal, "open_test_of", lambda *_: pytest.fail("the test part was opened"))
    with (
        alone(place, "judged"),
        pytest.raises(PromotionBlockedError, match="is being promoted, or rolled back, by another process"),
    ):
        promote("drawn", place, model="judged", views=4)


@pytest.mark.parametrize(
    "text", ["metrics: {auc_MEL: {at_least: 0.5}}\n", "sensitivity: {of: MEL, specificity: 0.8, at_least: 0.4}\n"]
)
def test_a_class_that_is_not_there_is_told_before_the_test_part_is_opened(place, tmp_path, monkeypatch, text):
    monkeypatch.setattr(proposal, "open_test_of", lambda *_: pytest.fail("the test part was opened"))
    (tmp_path / "mel.yaml").write_text(text)
    for ask in (promote, rehearse):
        with pytest.raises(PromotionError, match=r"no class 'MEL'; known: .* \(did you mean 'melanoma'\?\)"):
            ask("drawn", place, model="mel", views=4, gates=tmp_path / "mel.yaml")


def test_a_rehearsal_opens_and_registers_nothing(place, files, settled, monkeypatch, capsys):
    monkeypatch.setattr(proposal, "open_test_of", lambda *_: pytest.fail("the test part was opened"))
    told = rehearse("drawn", place, model="dry", views=2, gates=files["closed"])
    assert [verdict.outcome for verdict in told.verdicts] == ["failed", "passed"]
    assert (told.version, told.champion) == (None, None)
    with pytest.raises(PromotionError, match="no model 'dry'"):
        history("dry", place)
    words = ["promote", "drawn", "--workspace", str(place.path), "--dry-run", "--views", "2", "--model", settled]
    assert cli.main([*words, "--gates", str(files["open"])]) == 0
    said = capsys.readouterr().out
    assert "on validation: none asked" in said
    assert "these trials are version 1 already" in said
    assert "nothing was opened, registered or moved" in said


def test_a_rehearsal_says_that_it_cannot_compare_with_the_champion(place, files, settled, capsys):
    words = ["promote", "drawn", "--workspace", str(place.path), "--dry-run", "--gates", str(files["champion"])]
    assert cli.main([*words, "--views", "1", "--model", settled]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "on validation: passed, 1 not judged: champion" in said
    assert "champion: not judged, needs the test part: it is compared with version 1 there" in said
    # Of its own and with nobody to compare, it says what a promotion would.
    for more in (["--views", "2", "--model", settled], ["--views", "1", "--model", "nobody"]):
        assert cli.main([*words, *more]) == 0
        assert "champion: not judged, there is no other model to compare with" in capsys.readouterr().out


def test_a_first_model_that_is_stopped_is_not_offered_for_use(place, files, capsys):
    words = ["promote", "drawn", "--model", "offered", "--views", "2", "--workspace", str(place.path), "--gates"]
    assert cli.main([*words, str(files["closed"])]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "is models:/offered/1; stopped by accuracy: there is no champion yet" in said
    assert f"next: lesion-search history offered --workspace {place.path}" in said
    assert "evidence/model_card.md" in said
    assert "next: lesion-search predict" not in said
    assert cli.main([*words, str(files["open"])]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "next: lesion-search predict models:/offered@champion PHOTO" in said


def test_the_commands_end_with_1_where_a_gate_stops(place, files, settled, capsys):
    words = ["--workspace", str(place.path), "--json"]
    promoting = ["promote", "drawn", "--model", settled, "--views", "2", "--gates"]
    assert cli.main([*promoting, str(files["closed"]), *words]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["passed"], told["alias"]) == (False, "champion")
    assert [gate["outcome"] for gate in told["gates"]] == ["failed", "passed"]
    assert (told["operating_point"]["classes"], told["operating_point_on_test"]["images"]) == (["melanoma"], 60)
    assert cli.main([*promoting, str(files["open"]), "--workspace", str(place.path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "settled version 1" in said
    assert "on the test part: sensitivity " in said
    assert cli.main(["history", settled, *words]) == 0
    assert json.loads(capsys.readouterr().out)["versions"][0]["aliases"] == ["champion"]
    assert cli.main(["history", settled, "--workspace", str(place.path)]) == 0
    assert "promoted from drawn" in capsys.readouterr().out
    assert cli.main(["rollback", settled, *words]) == 2
    (place.path.parent / "torn.yaml").write_text("metrics: {acuracy: {at_least: 0.5}}\n")
    assert cli.main([*promoting, str(place.path.parent / "torn.yaml"), *words]) == 2
    assert "torn.yaml:1: no metric 'acuracy'" in capsys.readouterr().err
