"""Bad input, reached from the command: exit code 2 and words on stderr, never a traceback, nothing half-made.

What is not the input's fault, such as a full disk, ends with 1.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_training import make_data, make_space

sys.path.append(str(Path(__file__).parents[1] / "data"))
from drawn_sources import encoded, isic2017, jpeg, manifest, picture, write_zip

from search import cli

HEAD = "data: tiny\nobjective: mean_auc\nbudget: {trials: 2, epochs: 2}\nspace:\n"
TRAINING = "ISIC-2017_Training_Data"


def cut_zip(folder: Path) -> Path:
    source = isic2017(folder, (6, 3, 3))
    path = source / f"{TRAINING}.zip"
    path.write_bytes(path.read_bytes()[:-200])
    return source


def missing_zip(folder: Path) -> Path:
    source = isic2017(folder, (6, 3, 3))
    (source / f"{TRAINING}.zip").unlink()
    return source


def leaving_zip(folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.writestr("../outside.jpg", jpeg(0))
        archive.writestr("labels.csv", "image,label\noutside.jpg,mole\n")
    return folder / "photos.zip"


def truth(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        source = isic2017(folder, (6, 3, 3))
        (source / "ISIC-2017_Training_Part3_GroundTruth.csv").write_text(text)
        return source

    return make


def photo(data: bytes, name: str = "a0.jpg") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        labels = ("mole", "melanoma")
        rows = [f"{name if i == 0 else f'a{i}.jpg'},{labels[i % 2]}" for i in range(12)]
        source = manifest(folder, rows)
        (source / name).write_bytes(data)
        return source

    return make


ROWS = "".join(f"ISIC_{i:07d},0.0,0.0\n" for i in range(6))
SOURCES = {
    "no such source": (lambda folder: folder / "none", "no such file or folder"),
    "missing zip": (missing_zip, TRAINING),
    "truncated zip": (cut_zip, f"{TRAINING}.zip"),
    "zip entry that leaves its folder": (leaving_zip, "outside"),
    "unknown column": (truth(f"image_id,melanoma,keratosis\n{ROWS}"), "GroundTruth.csv:1"),
    "NaN": (truth(f"image_id,melanoma,seborrheic_keratosis\nISIC_0000000,nan,0.0\n{ROWS[21:]}"), "GroundTruth.csv:2"),
    "both labels 1": (truth("image_id,melanoma,seborrheic_keratosis\nISIC_0000000,1.0,1.0\n"), "GroundTruth.csv:2"),
    "duplicate id": (truth(f"image_id,melanoma,seborrheic_keratosis\n{ROWS}ISIC_0000003,0.0,0.0\n"), "ISIC_0000003"),
    "no image": (photo(b"hello, I am text"), "a0.jpg"),
    "zero bytes": (photo(b""), "a0.jpg is empty"),
    "wide image": (photo(encoded(picture(0, 40_000, 1))), "40000"),
}  # fmt: skip


@pytest.mark.parametrize("what", SOURCES)
def test_a_source_that_cannot_be_prepared(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, message = SOURCES[what]
    source = make(tmp_path / "source")
    workspace = tmp_path / "workspace"
    words = ["data", "prepare", str(source), "--name", "bad", "--size", "16", "--workers", "1"]
    assert cli.main([*words, "--workspace", str(workspace)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (workspace / "data" / "bad").exists()
    assert not (workspace / "test" / "bad").exists()


SPACES = {
    "unknown key": ("budgets: 3\n" + HEAD + "  image_size: 32\n", ":1: no key of a space file 'budgets'"),
    "reversed bounds": (HEAD + "  optimizer: {adamw: {lr: {float: [0.1, 0.01]}}}\n", ":5: "),
    "log from 0": (HEAD + "  optimizer: {adamw: {lr: {float: [0.0, 0.01], log: true}}}\n", ":5: "),
    "unknown component": (HEAD + "  loss: focl\n", ":5: no loss 'focl'"),
    "unknown setting": (HEAD + "  loss: {focal: {gama: 2.0}}\n", ":5: no setting of loss focal 'gama'"),
    "code": (HEAD + "  loss: !!python/object:os.system x\n", ":5: "),
    "unknown metric": (HEAD.replace("mean_auc", "auroc") + "  image_size: 32\n", ":2: objective: no metric 'auroc'"),
    "metric of a class that the data do not have": (
        HEAD.replace("mean_auc", "auc_mole") + "  image_size: 32\n", ":2: objective: no metric 'auc_mole'",
    ),
    "no YAML": ("data: [1, 2\n", ".yaml:"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("what", SPACES)
def test_a_space_with_a_mistake(what: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = SPACES[what]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    make_data(tmp_path)
    assert cli.main([command, str(path), "--workspace", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert f"{path}{message}" in captured.err if message.startswith(":") else message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("file", "message"),
    [("none.pth", "no weights file none.pth"), ("other.pth", "other.pth does not fit squeezenet1_1")],
)
def test_weights_are_looked_at_before_anything_runs(
    file: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"layer.weight": torch.zeros(2, 2)}, "other.pth")
    make_data(tmp_path)
    path = tmp_path / "my.yaml"
    path.write_text(f"{HEAD}  backbone: {{squeezenet1_1: {{weights: {file}}}}}\n")
    assert cli.main(["run", str(path), "--workspace", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    # `check` may be asked on another machine than the one that has the file.
    assert cli.main(["check", str(path), "--workspace", str(tmp_path)]) == (0 if file == "none.pth" else 2)
    assert message in capsys.readouterr().out


def test_check_finds_names_of_weights_and_splits_with_their_line_and_beside_all_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path)
    path = tmp_path / "my.yaml"
    space = "  backbone: {choice: {squeezenet1_1: {weights: IMAGENET1K_V9},\n    resnet18: {trainable_stages: 99}}}\n"
    path.write_text(f"split: fold-9\n{HEAD}{space}")
    line = 2 + HEAD.count("\n")
    assert cli.main(["check", str(path), "--workspace", str(tmp_path)]) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert f"{path}:1: {tmp_path / 'data' / 'tiny'}: no split 'fold-9'; known: holdout" in said
    assert f"{path}:{line}: no weights of squeezenet1_1 'IMAGENET1K_V9'; known: DEFAULT, IMAGENET1K_V1" in said
    assert f"{path}:{line + 1}: trainable_stages is 99, but the backbone has" in said


def test_data_that_are_not_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = make_space(tmp_path)
    assert cli.main(["run", str(space.path), "--workspace", str(tmp_path)]) == 2
    assert "no data set is prepared; make one with: lesion-search data prepare" in capsys.readouterr().err


def test_data_that_the_command_names_are_told_as_the_command_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = make_space(tmp_path)
    assert cli.main(["check", str(space.path), "--data", "foo", "--workspace", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    said = " ".join((shown.out + shown.err).split())
    assert f"warning: --data foo: {tmp_path}: no data set is prepared" in said
    assert f"{space.path}:" not in said


def test_a_study_that_exists_for_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lesion.data.packed import PackedDataset
    from search.ledger import open_ledger
    from search.study import identity_of
    from search.workspace import open_workspace

    space = make_space(tmp_path)
    place = open_workspace(tmp_path)
    identity = identity_of(space, PackedDataset.open(make_data(tmp_path)))
    open_ledger(place.ledger_url, "tiny", identity, space.seed)
    make_data(tmp_path, label=2)
    assert cli.main(["run", str(space.path), "--workspace", str(tmp_path)]) == 2
    assert "holds other images or labels than before" in capsys.readouterr().err


def test_a_study_that_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "sync", "promote"):
        assert cli.main([command, "nobody", "--workspace", str(tmp_path)]) == 2
        assert "'nobody'" in capsys.readouterr().err


def test_a_ledger_that_is_no_database_or_has_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LESION_LEDGER", "nonsense")
    assert cli.main(["status", "--workspace", str(tmp_path)]) == 2
    assert "LESION_LEDGER is the URL of a database" in capsys.readouterr().err
    monkeypatch.delenv("LESION_LEDGER")
    (tmp_path / "ledger.db").write_bytes(b"something else entirely" * 50)
    assert cli.main(["status", "--workspace", str(tmp_path)]) == 1
    assert "damaged or something else" in capsys.readouterr().err


def test_a_task_and_overrides_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"task: mole\n{HEAD}  image_size: 32\n")
    make_data(tmp_path)
    for command in ("check", "run"):
        assert cli.main([command, str(path), "--workspace", str(tmp_path)]) == 2
        assert f"{path}:1: task: no class 'mole'; known: melanoma" in capsys.readouterr().err
        words = [command, str(path), "--workspace", str(tmp_path), "--set", "task=nevus", "--set", "loss=focl"]
        assert cli.main(words) == 2
        assert capsys.readouterr().err.startswith("--set loss=focl: no loss 'focl'; known: ")


def test_an_objective_that_the_validation_part_does_not_define(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"{HEAD}  image_size: 32\n".replace("mean_auc", "auc_nevus"))
    make_data(tmp_path, validation=(0, 1, 1))
    for command in ("check", "run"):
        assert cli.main([command, str(path), "--workspace", str(tmp_path)]) == 2
        said = capsys.readouterr()  # `check` tells it beside what else it found
        assert f"{path}:2: auc_nevus is undefined on the validation part" in " ".join((said.out + said.err).split())


def test_a_workspace_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    space = make_space(tmp_path)
    assert cli.main(["run", str(space.path), "--workspace", str(tmp_path / "file")]) == 2
    assert "cannot be used: a file stands in the way" in capsys.readouterr().err
    assert cli.main(["status", "--workspace", str(tmp_path / "none")]) == 2
    assert "no workspace at" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_without_write_access(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "theirs"
    place.mkdir(mode=0o500)
    source = manifest(tmp_path / "source", ["a0.jpg,mole"])
    assert cli.main(["data", "prepare", str(source), "--workspace", str(place)]) == 2
    assert "you may not write there" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(root: Path) -> None:
        Path("/dev/full").write_bytes(b"\0" * 4096)

    monkeypatch.setattr("search.workspace._try_writing", full)
    space = make_space(tmp_path)
    assert cli.main(["run", str(space.path), "--workspace", str(tmp_path)]) == 1  # no other input would help
    assert "its disk is full" in capsys.readouterr().err


def test_a_model_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(0))
    assert cli.main(["predict", str(tmp_path / "model"), str(tmp_path / "photo.jpg")]) == 2
    assert "config.json" in capsys.readouterr().err
    assert cli.main(["predict", "model", str(write_zip(tmp_path / "x.zip", {}).parent / "empty")]) == 2
    (tmp_path / "empty").mkdir()
    assert cli.main(["predict", "model", str(tmp_path / "empty")]) == 2
    assert "no photo in this folder" in capsys.readouterr().err
