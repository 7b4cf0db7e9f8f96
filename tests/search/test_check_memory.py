"""What `check` remembers of `lesion`: the same answers without torch, and never an old one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lesion.errors import SettingError
from search.errors import SpaceError
from search.preflight import misfit_weights
from search.space import CheckReport, Vocabulary, check
from search.space.memory import Memory, memory_of_user, remembering, state_of
from search.space.vocabulary import of_lesion

SPACES = Path(__file__).parents[2] / "spaces"
SPACE = """
data: any
objective: mean_auc
budget: {{trials: 1, epochs: 1}}
space:
  image_size: 32
  backbone: {{shufflenet_v2_x0_5: {{}}}}
  loss: {{cost_matrix: {{file: {file}}}}}
  optimizer: {{adamw: {{lr: {{float: [{low}, 0.01]}}}}}}
"""
COSTS = "class,melanoma,seborrheic_keratosis,nevus\nmelanoma,0,1,1\nseborrheic_keratosis,1,0,1\nnevus,1,1,0\n"


def nobody() -> Vocabulary:
    raise AssertionError("lesion was asked")


def told(report: CheckReport) -> tuple[object, ...]:
    return report.space.hash, report.branches, report.walked, report.parameters, [str(each) for each in report.problems]


def asking(counted: list[str]) -> Callable[[], Vocabulary]:
    def ask() -> Vocabulary:
        counted.append("asked")
        return of_lesion()

    return ask


@pytest.mark.parametrize("name", ["isic2017.yaml", "isic2018_full.yaml"])
def test_a_file_is_tried_out_again_without_asking_and_the_report_is_the_same(name: str, tmp_path: Path) -> None:
    with Memory(tmp_path / "memory.json", "now") as memory:
        real = check(SPACES / name, vocabulary=of_lesion(), limit=12)
        first = check(SPACES / name, vocabulary=remembering(memory), limit=12)
    again = check(SPACES / name, vocabulary=remembering(Memory(tmp_path / "memory.json", "now"), nobody), limit=12)
    assert told(again) == told(first) == told(real)
    with pytest.raises(AssertionError, match="lesion was asked"):
        check(SPACES / name, vocabulary=remembering(Memory(tmp_path / "memory.json", "another"), nobody), limit=12)


def test_a_new_range_of_what_no_model_hangs_on_asks_nobody(tmp_path: Path) -> None:
    space, memory = tmp_path / "my.yaml", Memory()
    (tmp_path / "costs.csv").write_text(COSTS)
    space.write_text(SPACE.format(file=tmp_path / "costs.csv", low=0.0001))
    assert check(space, vocabulary=remembering(memory)).sound
    space.write_text(SPACE.format(file=tmp_path / "costs.csv", low=0.002))
    assert check(space, vocabulary=remembering(memory, nobody)).sound
    space.write_text(SPACE.format(file=tmp_path / "costs.csv", low=-1))
    with pytest.raises(SpaceError, match=r"my.yaml:9: optimizer.adamw.lr is -1"):
        check(space, vocabulary=remembering(memory, nobody))


def test_a_mistake_is_found_afresh_and_another_content_of_a_file_is_looked_at(tmp_path: Path) -> None:
    space, costs, memory, counted = tmp_path / "my.yaml", tmp_path / "costs.csv", Memory(), []
    space.write_text(SPACE.format(file=costs, low=0.001))
    costs.write_text(COSTS)
    assert check(space, vocabulary=remembering(memory, asking(counted))).sound
    costs.write_text(COSTS.replace("nevus,1", "wart,1"))
    for _ in range(2):
        counted.clear()
        report = check(space, vocabulary=remembering(memory, asking(counted)))
        assert "cost" in str(report.problems[0])
        assert counted == ["asked"]
    costs.unlink()
    assert not check(space, vocabulary=remembering(memory, asking(counted))).sound


def test_names_that_are_not_known_are_asked_each_time(tmp_path: Path) -> None:
    words = remembering(Memory())
    assert "focal" in words.kinds["loss"]
    assert "fokal" not in words.kinds["loss"]
    for _ in range(2):
        with pytest.raises(SettingError, match="did you mean 'focal'"):
            words.kinds["loss"]["fokal"]
        with pytest.raises(SettingError, match="did you mean"):
            words.direction("mean_auk", ())
    assert list(words.kinds["loss"]) == list(of_lesion().kinds["loss"])


def test_every_setting_comes_back_as_it_is_registered(tmp_path: Path) -> None:
    real = of_lesion()
    with Memory(tmp_path / "memory.json", "now") as memory:
        words = remembering(memory)
        for kind, registry in real.kinds.items():
            for name in registry:
                assert words.kinds[kind][name].settings == registry[name].settings
    again = remembering(Memory(tmp_path / "memory.json", "now"), nobody)
    for kind, registry in real.kinds.items():
        for name in registry:
            assert again.kinds[kind][name].settings == registry[name].settings
            assert (again.kinds[kind][name].kind, again.kinds[kind][name].name) == (kind, name)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\x00\xff", b'{"state": "now"}', b'{"state": "now", "facts": 3}']
)
def test_a_damaged_memory_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_bytes(content)
    with Memory(tmp_path / "memory.json", "now") as memory:
        assert memory.ask(["a"], lambda: 1) == 1
    assert Memory(tmp_path / "memory.json", "now").ask(["a"], lambda: 2) == 1


def test_a_folder_that_takes_no_file_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Memory(tmp_path / "file" / "memory.json") as memory:
        assert memory.ask(["a"], lambda: 1) == 1


def test_the_oldest_is_forgotten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.space.memory.FACTS", 3)
    with Memory(tmp_path / "memory.json") as memory:
        for number in range(5):
            memory.ask([number], lambda: "old")
    kept = Memory(tmp_path / "memory.json")
    assert [kept.ask([number], lambda: "new") for number in range(5)] == ["new", "new", "old", "old", "old"]


def test_another_package_or_another_line_of_ours_is_another_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    before = state_of([tmp_path])
    assert state_of([tmp_path]) == before
    os.utime(tmp_path / "a.py", ns=(1, 1))
    touched = state_of([tmp_path])
    monkeypatch.setattr("search.space.memory.version", lambda package: "0.0.1")
    assert len({before, touched, state_of([tmp_path])}) == 3


def test_weights_that_fit_are_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("search.preflight._require_fit", lambda *what: loaded.append(what))
    text = SPACE.format(file=tmp_path / "costs.csv", low=0.001).replace("{}}", f"{{weights: {tmp_path}/some.pth}}}}")
    (tmp_path / "my.yaml").write_text(text)
    (tmp_path / "costs.csv").write_text(COSTS)
    (tmp_path / "some.pth").write_bytes(b"1")
    memory, space = Memory(), check(tmp_path / "my.yaml").space
    for _ in range(2):
        assert misfit_weights(space, memory=memory) == []
        assert len(loaded) == 1
    (tmp_path / "some.pth").write_bytes(b"22")
    assert misfit_weights(space, memory=memory) == []
    assert len(loaded) == 2


def test_the_command_imports_torch_once(tmp_path: Path) -> None:
    program = (
        "import sys; from search import cli; code = cli.main(sys.argv[1:]); "
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    words = ["check", str(SPACES / "isic2017.yaml"), "--workspace", str(tmp_path), "--json"]
    outcomes = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, cwd=SPACES.parent,
        )  # fmt: skip
        outcomes.append((done.stderr.strip().endswith("True"), json.loads(done.stdout)))
    assert [torch for torch, _ in outcomes] == [True, False]
    assert outcomes[0][1] == outcomes[1][1]


def test_nobody_s_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert memory_of_user().file is None
