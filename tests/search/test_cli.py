"""The command line itself: what it offers, what it imports, how it ends."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_training import make_data, make_space

from lesion.errors import DataAccessError, DataError
from lesion.judgements import PredictionTable
from lesion.photo_lists import PhotoList
from lesion.sanity import Cascade
from lesion.taxonomy import find_taxonomy
from search import cli
from search.commands import predict, ui
from search.errors import LedgerAccessError, MirrorError, PromotionBlockedError, PromotionError, SpaceError
from search.identity import Identity
from search.lacking import NEEDED_FOR
from search.space import Space
from search.workspace import Workspace

COMMANDS = [
    "data", "data prepare", "data check", "data explore", "data augmentations", "data synthesise", "data download",
    "check", "run", "finalists", "status", "sync", "doctor", "report", "compare", "ui", "promote",
    "predict", "explain", "serve", "export", "rollback", "history",
    "logs", "stop", "simulate", "cluster", "cluster check", "cluster exec", "cluster tracking",
]  # fmt: skip


def offered(parser: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield f"{before} {name}".strip()
                yield from offered(inner, f"{before} {name}".strip())


def test_the_commands_are_those_that_are_tested() -> None:
    assert sorted(offered(cli.build_parser())) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does_and_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert max(map(len, text.splitlines())) <= 100
    assert text.count(f"  lesion-search {command}") >= 2, "a command shows two examples or more"


@pytest.mark.parametrize(
    "words",
    ["predict m p.jpg", "explain m p.jpg --out why", "report s", "compare a b", "export m --onnx f", "simulate s"],
)
def test_what_keeps_nothing_of_what_it_began_says_so_at_ctrl_c(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parse = argparse.ArgumentParser.parse_args

    def interrupted(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    def parsed(parser: argparse.ArgumentParser, *arguments: Any) -> argparse.Namespace:
        args: argparse.Namespace = parse(parser, *arguments)
        args.run = interrupted
        return args

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    assert cli.main(words.split()) == cli.INTERRUPTED
    assert capsys.readouterr().err == "interrupted; the same command begins anew\n"
    assert cli.main(["run", "space.yaml"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "interrupted; the same command continues\n"


def test_every_example_parses() -> None:
    parser = cli.build_parser()
    for command in COMMANDS[1:]:
        if command == "cluster exec":  # what follows is another machine's command
            continue
        with pytest.raises(SystemExit):
            parser.parse_args([*command.split(), "--no-such-option"])
    examples = [line.strip() for parser in parsers(cli.build_parser()) for line in (parser.epilog or "").splitlines()]
    lines = [line.split()[1:] for line in examples if line.startswith("lesion-search")]
    assert len(lines) > 30
    for words in lines:
        assert parser.parse_args(words).run


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def test_nothing_heavy_is_imported_for_parsing() -> None:
    program = """if True:
        import sys
        from search.cli import build_parser
        build_parser().parse_args(["run", "spaces/isic2017.yaml", "--trials", "3"])
        heavy = "torch ray mlflow optuna numpy pandas rich sklearn yaml ruamel ssl importlib.metadata".split()
        print([name for name in heavy if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("lesion-search 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "lesion-search: the following arguments are required: COMMAND"),
        (["srch"], "invalid choice: 'srch'"),
        (["data"], "lesion-search data: the following arguments are required: COMMAND"),
        (["data", "prepare"], "lesion-search data prepare: the following arguments are required: SOURCE"),
        (["data", "prepare", "x", "--size", "big"], "argument --size: invalid int value: 'big'"),
        (["run"], "lesion-search run: the following arguments are required: SPACE"),
        (["run", "s.yaml", "--trials", "0"], "argument --trials: 0 is less than 1"),
        (["run", "s.yaml", "--hours", "-1"], "argument --hours: -1 is not above 0"),
        (["run", "s.yaml", "--hours", "nan"], "argument --hours: nan is not above 0"),
        (["run", "s.yaml", "--trial", "3"], "unrecognized arguments: --trial 3"),
        (["predict", "model"], "the following arguments are required: IMAGE"),
        (["promote", "s", "--views", "3"], "argument --views: invalid choice: 3"),
    ],
)
def test_mistakes_in_arguments_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert message in captured.err
    assert "--help)" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("x.csv:3: age is NaN"), 2, "x.csv:3: age is NaN"),
        (SpaceError([]), 2, ""),
        (PromotionError("no model 'x'"), 2, "no model 'x'"),
        (PromotionBlockedError("it is being searched"), 1, "it is being searched"),
        (LedgerAccessError("the disk is full"), 1, "the disk is full"),
        (DataAccessError("the disk is full"), 1, "the disk is full"),
        (MirrorError("MLflow did not answer"), 1, "MLflow did not answer"),
        (KeyboardInterrupt(), 130, "interrupted; the same command continues"),
        (OSError(28, "No space left on device", "/full/x"), 1, "/full/x: No space left on device"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("lesion.data.synthesise.synthesise", fail)
    monkeypatch.delenv("LESION_DEBUG", raising=False)
    assert cli.main(["data", "synthesise", "x"]) == code
    assert capsys.readouterr().err.strip() == message


@pytest.mark.parametrize("name", ["mlflow", "optuna"])
def test_a_package_that_is_not_installed_is_named_with_what_it_is_for(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("lesion.data.synthesise.synthesise", fail)
    monkeypatch.delenv("LESION_DEBUG", raising=False)
    assert cli.main(["data", "synthesise", "x"]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first == f"{name} is not installed here: it is needed for {NEEDED_FOR[name]}"
    assert "'pip install lesion-search'" in last


@pytest.mark.parametrize("name", ["search.nowhere", "mlflow.nowhere", "somebodys_package", None])
def test_a_module_that_is_not_found_by_our_own_mistake_keeps_its_traceback(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ModuleNotFoundError("not found", name=name)

    monkeypatch.setattr("lesion.data.synthesise.synthesise", fail)
    monkeypatch.delenv("LESION_DEBUG", raising=False)
    with pytest.raises(ModuleNotFoundError, match="not found"):
        cli.main(["data", "synthesise", "x"])


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LESION_DEBUG", "1")
    with pytest.raises(DataError):
        cli.main(["data", "check", str(tmp_path / "none")])


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    program = "import sys; from search.cli import main; sys.exit(main(sys.argv[1:]))"
    make_data(tmp_path)
    words = [sys.executable, "-c", program, "data", "check", str(tmp_path / "data" / "tiny")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_check_lists_parameters_and_warns_of_data_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = make_space(tmp_path)
    assert cli.main(["check", str(space.path), "--workspace", str(tmp_path / "none"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [parameter["name"] for parameter in found["parameters"]][:2] == ["loss", "loss.focal.gamma"]
    assert found["problems"] == []
    assert "no workspace" in found["warnings"][0]
    make_data(tmp_path)
    assert cli.main(["check", str(space.path), "--workspace", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "loss is focal" in text
    assert "warning" not in text


def test_overrides_are_listed_and_given_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_data(tmp_path)
    words = [str(make_space(tmp_path).path), "--workspace", str(tmp_path)]
    given = ["--set", "loss={focal: {gamma: 2}}", "--set", "task=nevus", "--set", "objective=auc_nevus"]
    assert cli.main(["check", *words, *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overrides"] == given[1::2]
    assert found["task"] == [["rest", "rest"], ["nevus", ["nevus"]]]
    assert [parameter["name"] for parameter in found["parameters"]] == ["optimizer.adamw.lr"]
    assert cli.main(["check", *words, *given]) == 0
    text = capsys.readouterr().out
    assert "task: rest | nevus" in text
    assert "with --set loss={focal: {gamma: 2}}" in text
    assert "run" in text
    assert "--set 'loss={focal: {gamma: 2}}' --set task=nevus --set objective=auc_nevus" in text


def test_a_class_without_validation_images_and_what_points_lose_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path, validation=(0, 1, 1))
    path = make_space(tmp_path).path
    path.write_text(path.read_text() + "start_with: [{loss: focal}]\n")
    assert cli.main(["check", str(path), "--workspace", str(tmp_path), "--set", "loss=cross_entropy", "--json"]) == 0
    absent, lost = json.loads(capsys.readouterr().out)["warnings"]
    assert absent.startswith("split holdout of tiny: no validation image of nevus: nothing can be said of it")
    assert lost.endswith(
        "this point loses loss to --set loss=cross_entropy, and is left out: nothing of it is searched now"
    )


def test_check_ends_with_2_where_a_branch_cannot_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(
        "data: d\nobjective: mean_auc\nbudget: {trials: 1, epochs: 1}\n"
        "space: {backbone: {squeezenet1_1: {trainable_stages: 99}}}\n"
    )
    assert cli.main(["check", str(path), "--workspace", str(tmp_path)]) == 2
    assert "trainable_stages is 99, but the backbone has" in capsys.readouterr().out


def test_the_server_listens_to_this_machine_alone_unless_told(tmp_path: Path) -> None:
    words = ui.server_command(Workspace(tmp_path), "127.0.0.1", 5000)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--allowed-hosts" not in words, "MLflow's own list is this machine alone"
    words = ui.server_command(Workspace(tmp_path), "0.0.0.0", 5000, ["lab.example.org"])
    hosts = words[words.index("--allowed-hosts") + 1].split(",")
    assert {"lab.example.org", "lab.example.org:*", "localhost:*"} <= set(hosts)
    assert "*" not in hosts
    assert "http://lab.example.org:5000" in words[words.index("--cors-allowed-origins") + 1].split(",")


def test_a_server_elsewhere_is_pointed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org:5000")
    assert cli.main(["ui", "--workspace", str(tmp_path)]) == 0
    assert "http://mlflow.example.org:5000" in capsys.readouterr().out


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["ui", "--workspace", str(tmp_path), "--port", str(port)]) == 2
    assert f"127.0.0.1:{port} cannot be listened on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ended", "states", "code"),
    [
        ("complete", ("complete", "failed"), 0),
        ("hours", ("complete",), 0),
        ("SIGINT", ("complete", "running"), 130),
        ("SIGTERM", (), 143),
        ("complete", ("failed", "failed"), 1),
    ],
)
def test_how_run_ends(
    ended: str,
    states: tuple[str, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from search.rows import TrialRow
    from search.study import StudyResult

    space = make_space(tmp_path)
    make_data(tmp_path)
    asked: dict[str, object] = {}

    def search(space: Space, place: Workspace, **options: object) -> StudyResult:
        asked.update(options)
        rows = tuple(TrialRow(n, state, 0.8, 1, {}, {}, {}) for n, state in enumerate(states))
        identity = Identity("tiny", "d", "holdout", "s", "mean_auc", "maximize", space.semantics())
        return StudyResult("tiny", identity, rows, False, ended, target=2)

    monkeypatch.setattr("search.study.run_study", search)
    words = ["run", str(space.path), "--workspace", str(tmp_path), "--trials", "2", "--hours", "0.5"]
    assert cli.main(words) == code
    assert (asked["trials"], asked["hours"], asked["name"]) == (2, 0.5, None)
    assert callable(asked["warn"])
    text = capsys.readouterr().out
    assert ("the same command continues" in text) == (len([s for s in states if s != "running"]) < 2)
    assert f"status tiny --workspace {tmp_path}" in text


def test_sanity_is_told_of_the_people_of_the_photos_that_could_be_read(tmp_path, monkeypatch):
    known = []
    monkeypatch.setattr(
        "lesion.sanity.cascade", lambda *args, people, **settings: known.append((args[1], people)) or Cascade({}, 0)
    )
    photos = PhotoList(
        (Path("torn.jpg"), Path("sound.jpg")),
        pd.DataFrame({"age": [20.0, 80.0], "sex": ["male", "female"], "site": ["back", "face"]}),
    )
    predictor = SimpleNamespace(classes=("melanoma", "nevus"))
    predict._sanity(predictor, photos, {"torn.jpg": "is empty"}, None)
    ((files, people),) = known
    assert files == [Path("sound.jpg")]
    assert people.to_dict("records") == [{"age": 80.0, "sex": "female", "site": "face"}]
    predict._sanity(predictor, PhotoList((Path("sound.jpg"),)), {}, None)
    assert known[1][1] is None


def test_levels_of_a_taxonomy_are_printed_and_in_the_json(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    classes = ("melanoma", "seborrheic_keratosis", "nevus")
    p = np.array([[0.5, 0.2, 0.3], [0.1, 0.7, 0.2]])
    found = PredictionTable(classes, ("a.jpg", "b.jpg"), p, np.zeros(2), taxonomy=find_taxonomy("auto", classes))
    predict._show_predictions(found, 2)
    head, *_ = [line for line in capsys.readouterr().out.splitlines() if "melanocytic" in line]
    assert head.index("nevus") < head.index("melanocytic") < head.index("non-melanocytic")
    told = predict._predictions_json("m", found)["predictions"]
    assert told[1]["levels"] == [{"melanocytic": pytest.approx(0.3), "non-melanocytic": pytest.approx(0.7)}]
    assert set(told[0]) == {
        "image", "decision", "confidence", "entropy", "disagreement", "probabilities", "levels"
    }  # fmt: skip
    plain = PredictionTable(classes, ("a.jpg",), p[:1], np.zeros(1))
    assert "levels" not in predict._predictions_json("m", plain)["predictions"][0]
