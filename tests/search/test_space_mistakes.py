"""A table of bad space files with the message that each gives."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from small_vocabulary import WORDS

from search.errors import SpaceError
from search.space import load

HEAD = "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4}\n"
LOSSES = "cross_entropy, focal, weighted"


def mistakes(folder: Path, text: str, name: str = "my.yaml") -> list[str]:
    """The mistakes of a file with this text, with the folder's path left out."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpaceError) as caught:
        load(path, vocabulary=WORDS)
    return [str(mistake).replace(f"{folder}/", "") for mistake in caught.value.mistakes]


SPACE_LINES = {
    # components
    "loss: focl": f"5: no loss 'focl'; known: {LOSSES} (did you mean 'focal'?)",
    "loss: {focl: {gamma: 1}}": f"5: no loss 'focl'; known: {LOSSES} (did you mean 'focal'?)",
    "loss: {choice: [focal, focl]}": f"5: no loss 'focl'; known: {LOSSES} (did you mean 'focal'?)",
    "loss: {choice: [focal, focal]}": "5: the choice of loss has focal twice",
    "loss: {choice: []}": "5: the choice of loss is empty",
    "loss: {choice: {}}": "5: the choice of loss is empty",
    "loss: {choice: focal}": "5: the choice of loss must be a list of names, or names with their settings",
    "loss: {choice: [focal], focal: }": "5: focal stands beside choice; an option of loss goes below it",
    "loss: {focal: , weighted: }": "5: loss is focal, weighted at once; put them under choice: to search over them",
    "loss: {float: [0, 1]}": "5: loss is a component, no number; write a name or {choice: [a, b]}",
    "loss:": "5: loss must be the name of a loss, a name with its settings, or {choice: …} of them",
    "loss: 3": "5: loss must be the name of a loss, a name with its settings, or {choice: …} of them",
    "loss: {focal: 2.0}": "5: loss.focal must be a mapping of settings, or nothing",
    "loss: {focal: {gama: 2.0}}": "5: no setting of loss focal 'gama'; known: gamma, reduce (did you mean 'gamma'?)",
    "backbone: vgg": "5: backbone.vgg needs depth",
    "backbone: {vgg: }": "5: backbone.vgg needs depth",
    "los: focal": "5: no component or setting 'los'; known: backbone, balancing, decay, image_size, loss, views"
    " (did you mean 'loss'?)",
    # values
    "image_size: 8": "5: image_size is 8, must be from 16 to 1024",
    "image_size: 64.5": "5: image_size is 64.5, must be int",
    "image_size: true": "5: image_size is True, must be int",
    "image_size: '64'": "5: image_size is '64', must be int",
    "image_size:": "5: image_size is None, must be int (a value is missing after the colon)",
    "image_size: [64, 96]": "5: image_size is a list; to search over it write {choice: […]}",
    "decay: .nan": "5: decay is nan, must be finite",
    "decay: 1e999": "5: decay is inf, must be finite",
    "views: 3": "5: no views '3'; known: 1, 2, 4",
    "views: true": "5: no views 'true'; known: 1, 2, 4",
    "backbone: {resnet: {stages: none}}": "5: backbone.resnet.stages is 'none', must be int or nothing"
    " (nothing is spelled null)",
    "backbone: {resnet: {frozen: yes}}": "5: backbone.resnet.frozen is 'yes', must be bool"
    " (truth is spelled true or false)",
    "backbone: {resnet: {weights: 3}}": "5: backbone.resnet.weights is 3, must be str",
    # choices
    "image_size: {choice: []}": "5: the choice of image_size is empty",
    "image_size: {choice: 64}": "5: the choice of image_size must be a list: {choice: [a, b]}",
    "image_size: {choice: [64, big]}": "5: image_size is 'big', must be int",
    "image_size: {choice: [64, 8]}": "5: image_size is 8, must be from 16 to 1024",
    "image_size: {choice: [64, 96, 64]}": "5: the choice of image_size has 64 twice",
    "decay: {choice: [0, 0.0]}": "5: the choice of decay has 0.0 twice",
    "image_size: {choice: [[64]]}": "5: the choice of image_size may hold single values only",
    "image_size: {choice: [64, 96], log: true}": "5: log belongs to a range; a choice has none",
    # ranges
    "decay: {float: [0.5, 0.1]}": "5: the range of decay is reversed: write [0.1, 0.5]",
    "decay: {float: [0.5, 0.5]}": "5: the range of decay is one value; write decay: 0.5",
    "decay: {float: [0.5]}": "5: the range of decay must be two numbers: {float: [low, high]}",
    "decay: {float: 0.5}": "5: the range of decay must be two numbers: {float: [low, high]}",
    "decay: {float: [0, [1]]}": "5: an end of the range of decay must be a number",
    "decay: {float: [0.1, .inf]}": "5: decay is inf, must be finite",
    "decay: {float: [.nan, 1]}": "5: decay is nan, must be finite",
    "decay: {float: [false, 1]}": "5: decay is False, must be float",
    "decay: {float: [a, 1]}": "5: decay is 'a', must be float",
    "decay: {float: [-1, 1]}": "5: decay is -1, must be from 0 to 1",
    "decay: {float: [0, 1.5]}": "5: decay is 1.5, must be from 0 to 1",
    "balancing: {downsample: {ratio: {float: [1, 1e300]}}}": "5: balancing.downsample.ratio is 1e+300; beyond 2^53"
    " numbers are no longer exact",
    "decay: {float: [0, 1], log: true}": "5: decay has a log scale from 0; it must start above 0",
    "decay: {float: [0.1, 1], log: 1}": "5: log of decay must be true or false",
    "decay: {float: [0.1, 1], log: true, step: 0.1}": "5: decay has a step on a log scale; take one of them out",
    "decay: {float: [0, 1], step: 0.3}": "5: decay: steps of 0.3 from 0 do not end at 1",
    "decay: {float: [0, 1], step: 0}": "5: the step of decay must be a number above 0",
    "decay: {float: [0, 1], step: .nan}": "5: the step of decay must be a number above 0",
    "image_size: {int: [64, 128], step: 0.5}": "5: the step of image_size must be a whole number above 0",
    "image_size: {int: [64, 128], step: 48}": "5: image_size: steps of 48 from 64 do not end at 128",
    "image_size: {int: [64.0, 128]}": "5: image_size is 64.0, must be int",
    "image_size: {float: [64, 128]}": "5: image_size is an int: write {int: [low, high]}",
    "decay: {int: [0, 1]}": "5: decay is a float: write {float: [low, high], step: 1}",
    "backbone: {resnet: {weights: {int: [0, 1]}}}": "5: backbone.resnet.weights is str; a range of numbers does not"
    " fit, write {choice: […]}",
    "views: {int: [1, 4]}": "5: views is one of 1, 2, 4; a range of numbers does not fit, write {choice: […]}",
    "decay: {flaot: [0, 1]}": "5: no way to search a setting 'flaot'; known: choice, float, int, log, step"
    " (did you mean 'float'?)",
    "decay: {float: [0, 1], int: [0, 1]}": "5: decay has float and int at once; write a value, {choice: […]},"
    " {float: [low, high]} or {int: [low, high]}",
    "decay: {log: true}": "5: decay says neither choice, float nor int; write a value, {choice: […]},"
    " {float: [low, high]} or {int: [low, high]}",
    # YAML
    "decay: !!python/object:os.system x": "5: the tag tag:yaml.org,2002:python/object:os.system is refused:"
    " a space file holds plain values only",
    "decay: *other": "5: no anchor '&other' above this alias",
    "decay: &a [*a]": "5: no anchor '&a' above this alias",
    "<<: {decay: 0.1}": "5: merge keys are not YAML 1.2; write the entries out, or use extends:",
    "3: x": "5: a key must be a word (put quotes around it if it is meant as one)",
    "{a: 1}: x": "5: a key must be a word (put quotes around it if it is meant as one)",
    "decay: 1\n  decay: 1": "6: 'decay' is given twice; the first is in line 5",
    "image_size: " + "9" * 5000: "5: a number of 5000 digits",
    # what no single key shows
    "backbone: {vgg: {depth: 16}}\n  image_size: 600": "5: backbone vgg: a vgg takes images of 512 pixels at most",
}


@pytest.mark.parametrize(("line", "message"), SPACE_LINES.items(), ids=lambda value: value[:40])
def test_a_bad_line_of_the_space(tmp_path: Path, line: str, message: str) -> None:
    found = mistakes(tmp_path, f"{HEAD}space:\n  {line}\n")
    assert f"my.yaml:{message}" in found
    assert len(found) == 1 or "digits" in message


FILES = {
    # the file as a whole
    "": "my.yaml:1: the file is empty",
    "# nothing\n": "my.yaml:1: the file is empty",
    "- a\n": "my.yaml:1: a space file is a mapping: data: …, objective: …, budget: …, space: …",
    "a: [1, 2\nb: 3\n": "my.yaml:2: this is no YAML: expected ',' or ']', but got ':'",
    "a: 1\n---\nb: 2\n": "my.yaml:2: a second document starts here; a space file is one",
    "%YAML 1.1\n---\na: yes\n": "my.yaml:1: space files are YAML 1.2; leave the %YAML line out",
    "a: \x07\n": "my.yaml: this is no YAML: unacceptable character #x0007: special characters are not allowed",
    "[" * 3000: "my.yaml:1: nested more than 24 deep; a space needs six levels",
    "a: " + "x" * 300_000: "my.yaml: larger than 256 KiB; that is no space file",
}


@pytest.mark.parametrize(("text", "message"), FILES.items(), ids=lambda value: value[:20])
def test_a_bad_file(tmp_path: Path, text: str, message: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(message)


GPUS = "1: resources.gpu must be a share of a GPU (0.5), a whole number of GPUs of one machine (1, 2), or 0"
KEYS = {
    "epochs: 3": "1: no key of a space file 'epochs'; known: allow_double_balancing, balance_once, budget, data,"
    " description, extends, name, objective, resources, sampler, scheduler, seed, space, split, start_with, task",
    "objectiv: x": "1: no key of a space file 'objectiv'",
    "name: ../up": "1: the study name '../up' must be up to 64 letters, digits, - _ and .",
    "name: a/b": "1: the study name 'a/b' must be",
    "name: .hidden": "1: the study name '.hidden' must be",
    "name: a..b": "1: the study name 'a..b' must be",
    "name: 3": "1: name must be a word",
    "split: ../test": "1: split '../test' is no name of a split, such as official or fold-0",
    "seed: -1": "1: seed is -1, must be from 0 to 4294967295",
    "resources: all": "1: resources must be auto, or what a trial holds: {cpu: 2, gpu: 0.5}",
    "resources: {gpus: 1}": "1: no resource 'gpus'; known: cpu, gpu (did you mean 'gpu'?)",
    "resources: {cpu: 0.5}": "1: resources.cpu must be a whole number of cores, at least 1",
    "resources: {gpu: 1.5}": GPUS,
    "resources: {gpu: -1}": GPUS,
    "resources: {gpu: .inf}": GPUS,
    "seed: true": "1: seed must be a whole number",
    "seed: 1.5": "1: seed must be a whole number",
    "description: [a]": "1: description must be a text",
    "sampler: radnom": "1: no sampler 'radnom'; known: random, tpe (did you mean 'random'?)",
    "sampler: 3": "1: sampler must be one of tpe, random",
    "scheduler: hyperband": "1: scheduler must be none, asha, or {asha: {grace: 2, reduction: 3}}",
    "scheduler: {hyperband: }": "1: no scheduler 'hyperband'; known: asha",
    "scheduler: {asha: 3}": "1: asha must be a mapping: {grace: 2, reduction: 3}",
    "scheduler: {asha: {grace: 0}}": "1: asha.grace must be a whole number of at least 1",
    "scheduler: {asha: {grace: 5}}": "1: asha.grace is 5, more than the 4 epochs of the budget",
    "scheduler: {asha: {reduction: 1}}": "1: asha.reduction must be a whole number of at least 2",
    "scheduler: {asha: {redaction: 3}}": "1: no setting of asha 'redaction'; known: grace, reduction"
    " (did you mean 'reduction'?)",
    "allow_double_balancing: maybe": "1: allow_double_balancing must be true or false",
    "balance_once: 1": "1: balance_once must be true or false",
    "extends: [a.yaml]": "1: extends is the path of one other space file, from the folder of this one",
}


@pytest.mark.parametrize(("line", "message"), KEYS.items(), ids=lambda value: value[:30])
def test_a_bad_key(tmp_path: Path, line: str, message: str) -> None:
    found = mistakes(tmp_path, f"{line}\n{HEAD}space: {{loss: focal}}\n")
    assert found[0].startswith(f"my.yaml:{message}")


HEADS = {
    "objective: mean_auc\nbudget: {trials: 8, epochs: 4}": "1: data is missing: write data: the name of a prepared data"
    " set, or a path",
    "data: ''\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4}": "1: data must be the name of a prepared data set,"
    " or a path",
    "data: d\nbudget: {trials: 8, epochs: 4}": "1: objective is missing",
    "data: d\nobjective: mean_acu\nbudget: {trials: 8, epochs: 4}": "2: objective: no metric 'mean_acu'; known: ",
    "data: d\nobjective: mean_auc": "1: budget is missing: write budget: {trials: 60, epochs: 12, hours: 3}",
    "data: d\nobjective: mean_auc\nbudget: 3": "3: budget must be a mapping",
    "data: d\nobjective: mean_auc\nbudget: {trials: 8}": "3: budget.epochs is missing",
    "data: d\nobjective: mean_auc\nbudget: {trials: 0, epochs: 4}": "3: budget.trials must be a whole number of at"
    " least 1",
    "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4, device_hours: -1}": "3: budget.device_hours must be",
    "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4, patience_minutes: no}": "3: budget.patience_minutes",
    "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4, stop_when_flat: 3}": "3: budget.stop_when_flat must",
    "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4, hours: 0}": "3: budget.hours must be a number",
    "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4, hour: 1}": "3: no part of the budget 'hour';"
    " known: device_hours, epochs, hours, "
    "patience_minutes, stop_when_flat, trials (did you mean 'hours'?)",
}


@pytest.mark.parametrize(("head", "message"), HEADS.items())
def test_a_bad_head(tmp_path: Path, head: str, message: str) -> None:
    found = mistakes(tmp_path, f"{head}\nspace: {{loss: focal}}\n")
    assert len(found) == 1
    assert found[0].startswith(f"my.yaml:{message}")


def test_space_itself_is_missing_or_no_mapping(tmp_path: Path) -> None:
    assert mistakes(tmp_path, HEAD)[0].startswith("my.yaml:1: space is missing of")
    assert mistakes(tmp_path, HEAD + "space: [loss]")[0].startswith("my.yaml:4: space must be a mapping of")


POINTS = {
    "{loss: focl}": "no loss in this space 'focl'; known: cross_entropy, focal (did you mean 'focal'?)",
    "{loss: weighted}": "no loss in this space 'weighted'; known: cross_entropy, focal",
    "{los: focal}": "no parameter of this space 'los'; known: decay, image_size, loss, loss.focal.gamma"
    " (did you mean 'loss'?)",
    "{loss: focal, loss.focal.gamma: 9}": "loss.focal.gamma is 9, in this space it is a float from 0.5 to 3",
    "{loss: focal, loss.focal.gamma: true}": "loss.focal.gamma is true, in this space it is a float from 0.5 to 3",
    "{loss.focal.gamma: 1}": "loss.focal.gamma needs loss: focal in the same point",
    "{loss: cross_entropy, loss.focal.gamma: 1}": "loss.focal.gamma is set, but the loss of this point is"
    " cross_entropy",
    "{image_size: 65}": "image_size is 65, in this space it is an int from 64 to 96 in steps of 16",
    "{decay: 0.5}": "decay is 0.5, in this space it is fixed to 0.25",
    "{loss: [focal]}": "loss of a point must be one value",
    "focal": "a point must be a mapping: {loss: focal, loss.focal.gamma: 1.5}",
    "{loss: focal}, {loss: focal}": "the same point stands in start_with twice",
}


@pytest.mark.parametrize(("points", "message"), POINTS.items())
def test_a_bad_point(tmp_path: Path, points: str, message: str) -> None:
    space = (
        "space:\n  image_size: {int: [64, 96], step: 16}\n  decay: 0.25\n"
        "  loss: {choice: {cross_entropy: , focal: {gamma: {float: [0.5, 3]}}}}\n"
    )
    assert mistakes(tmp_path, f"{HEAD}{space}start_with: [{points}]\n") == [f"my.yaml:8: {message}"]


def test_start_with_must_be_a_list(tmp_path: Path) -> None:
    found = mistakes(tmp_path, f"{HEAD}space: {{loss: focal}}\nstart_with: {{loss: focal}}\n")
    assert found == ["my.yaml:5: start_with must be a list of points: [{loss: focal, loss.focal.gamma: 1.5}]"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = "seed: -1\nobjective: mean_acu\nspace:\n  loss: {choice: {focl: , focal: {gamma: 11}}}\n  image_size: 8\n"
    found = mistakes(tmp_path, text)
    assert [line.split(": ")[0] for line in found] == ["my.yaml:1"] * 3 + ["my.yaml:2"] + ["my.yaml:4"] * 2 + [
        "my.yaml:5"
    ]


def test_aliases_of_aliases_are_counted_before_they_are_followed(tmp_path: Path) -> None:
    levels = [
        f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]" for below, name in zip("abcdefg", "bcdefgh", strict=True)
    ]
    bomb = "a: &a [1, 2]\n" + "\n".join(levels)
    assert mistakes(tmp_path, bomb)[0] == "my.yaml:5: more than 20000 values with its aliases written out"


def test_an_alias_repeats_what_its_anchor_holds(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(HEAD + "space:\n  decay: &half {float: [0, 0.5]}\n  loss: {cross_entropy: {smoothing: *half}}\n")
    names = [parameter.name for parameter in load(path, vocabulary=WORDS).parameters()]
    assert names == ["decay", "loss.cross_entropy.smoothing"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "isic2017.yaml").write_text(HEAD)
    (tmp_path / "latin.yaml").write_bytes("data: d\nname: Läsion\n".encode("latin-1"))
    for name, message in (
        ("isic2071.yaml", f"no such file (did you mean '{tmp_path}/isic2017.yaml'?)"),
        (".", "this is a folder; give a space file in it"),
        ("latin.yaml", "this is no UTF-8 text; save the file as UTF-8"),
    ):
        with pytest.raises(SpaceError) as caught:
            load(tmp_path / name, vocabulary=WORDS)
        assert caught.value.mistakes[0].text == message


def test_the_stem_of_the_file_must_be_a_name_too(tmp_path: Path) -> None:
    found = mistakes(tmp_path, f"{HEAD}space: {{loss: focal}}\n", "my space.yaml")
    assert found[0].endswith("the file's name gives it, so write name: … or rename the file")


def test_the_error_is_pickled_with_its_mistakes(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        load(tmp_path / "absent.yaml", vocabulary=WORDS)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.mistakes == caught.value.mistakes
    assert str(copy) == str(caught.value)
