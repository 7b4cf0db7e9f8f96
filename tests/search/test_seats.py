"""Seats of trials: shares of GPUs from footprints, over kinds of nodes; room in main memory."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lesion.footprint import Footprint
from search import seating
from search.errors import ClusterError
from search.interrupts import StopSession
from search.probes import Key, Probes, key_of, keys_of, measured
from search.seating import kinds_of, seats_for
from search.seats import Alike, Kind, Measured, Seat, trials_on
from search.space import Space, load

GB = 2**30
SPACE = """
data: tiny
objective: mean_auc
budget: {{trials: 9, epochs: 1}}
resources: {resources}
space:
  image_size: {{choice: [64, 96]}}
  backbone: {{choice: {{squeezenet1_1: , resnet18: }}}}
"""


def space_with(folder: Path, resources: str) -> Space:
    (folder / "my.yaml").write_text(SPACE.format(resources=resources))
    return load(folder / "my.yaml")


def footprint(device: float = 0.0, host: float = 2.0, busy: float = 1.0) -> Footprint:
    return Footprint(int(host * GB), int(device * GB), 100.0, busy)


def memory_of(node: Any) -> int:
    return 16 * GB if "accelerator_type:T4" in node else 80 * GB


def seated(monkeypatch: pytest.MonkeyPatch, space: Space, nodes: list[dict[str, float]], **options: Any) -> Any:
    """Seats on `nodes`, and what was told."""
    told: list[str] = []
    monkeypatch.setattr(seating, "alive_nodes", lambda: nodes)
    monkeypatch.setattr(seating, "measured", lambda key, pause: footprint(host=3.0))
    options = {"concurrent": None, "gpus_per_trial": None, "missing": 100, **options}
    return seats_for(
        space.resources, lambda: keys_of(space), space.path.parent / "cache", tell=told.append, **options
    ), told


def test_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_with(tmp_path, "{cpu: 2, gpu: 0.5}")
    seats, told = seated(monkeypatch, space, [{"CPU": 16, "GPU": 2}])
    assert (seats.concurrent, seats.take(0, {}), told) == (4, Seat(2, 0.5), [])
    seats, told = seated(monkeypatch, space, [{"CPU": 3, "GPU": 2}])
    assert seats.concurrent == 1
    seats, told = seated(monkeypatch, space, [{"CPU": 16}])
    assert (seats.concurrent, seats.take(0, {}), told) == (8, Seat(2, 0.0), [seating.NO_GPU])
    with pytest.raises(ClusterError, match=r"resources.cpu is 2, no node has more than 1 cores"):
        seated(monkeypatch, space, [{"CPU": 1}, {"CPU": 1}])


def test_several_gpus_of_a_trial_are_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_with(tmp_path, "{gpu: 2}")
    nodes = [{"CPU": 8, "GPU": 1}, {"CPU": 16, "GPU": 4}, {"CPU": 30, "GPU": 3}, {"CPU": 64}]
    seats, told = seated(monkeypatch, space, nodes)
    # Two on the second, one on the third; the first has too few, and lends no cores.
    assert (seats.concurrent, seats.take(0, {}), told) == (3, Seat(8, 2.0), [])
    assert seats.take(0, {}).bundle == {"CPU": 8, "GPU": 2.0}
    assert seats.in_use() == {"CPU": 8.0, "GPU": 2.0}
    seats, _ = seated(monkeypatch, space, nodes, gpus_per_trial=4)
    assert (seats.concurrent, seats.take(0, {})) == (1, Seat(16, 4.0))
    seats, _ = seated(monkeypatch, space, nodes, gpus_per_trial=0.5)
    assert seats.concurrent == 16
    with pytest.raises(ClusterError, match="a trial asks for 5 GPUs of one machine, none has more than 4"):
        seated(monkeypatch, space, nodes, gpus_per_trial=5)
    with pytest.raises(ClusterError, match=r"--gpus-per-trial is 1.5, must be a share of a GPU \(0.5\), a whole"):
        seated(monkeypatch, space, nodes, gpus_per_trial=1.5)


def test_memory_bounds_trials_on_cpus_and_each_gets_more_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_with(tmp_path, "auto")
    seats, told = seated(monkeypatch, space, [{"CPU": 4, "memory": 7 * GB}])
    assert (seats.concurrent, seats.take(0, {})) == (2, Seat(2, 0.0))
    assert told[0] == seating.NO_GPU
    assert len([line for line in told if line.startswith("measuring")]) == 4
    assert told[-1] == "memory holds 2 trials at a time"
    _, again = seated(monkeypatch, space, [{"CPU": 4, "memory": 40 * GB}])
    assert again == [seating.NO_GPU]  # measured once, and memory is no bound


def test_without_a_gpu_the_same_search_runs_on_cpus_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seating.NO_GPU == "no GPU here: trials train on CPU cores"
    space, nodes = space_with(tmp_path, ""), [{"CPU": 2, "memory": GB}]
    for asked in (None, 0.5, 2):
        seats, told = seated(monkeypatch, space, nodes, gpus_per_trial=asked)
        assert (seats.concurrent, seats.take(0, {}), told) == (2, Seat(1, 0.0), [seating.NO_GPU])
    _, told = seated(monkeypatch, space, nodes, gpus_per_trial=0.0)
    assert told == []
    for asked, words in ((-1, "is -1, must be a share of a GPU"), (1.5, "is 1.5, must be a share of a GPU")):
        with pytest.raises(ClusterError, match=words):
            seated(monkeypatch, space, nodes, gpus_per_trial=asked)
    with pytest.raises(ClusterError, match=r"asks for 0\.5 GPUs, there are 0"):
        seated(monkeypatch, space, nodes, gpus_per_trial=0.5, alone=False)


def test_nothing_said_is_a_gpu_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_with(tmp_path, "")
    seats, told = seated(monkeypatch, space, [{"CPU": 16, "GPU": 2}])
    assert (seats.concurrent, seats.take(0, {}), told) == (2, Seat(8, 1.0), [])
    seats, told = seated(monkeypatch, space, [{"CPU": 16, "GPU": 4}], gpus_per_trial=0.5, missing=3)
    assert (seats.concurrent, seats.take(0, {}), told) == (3, Seat(4, 0.5), []), "the cores beside its GPU, and no more"


def test_a_gpu_is_shared_as_far_as_memory_and_use_allow() -> None:
    kind = Kind("H100", 2, 80 * GB, 16)
    small, hungry, keen = footprint(2, busy=0.2), footprint(30, busy=0.2), footprint(2, busy=0.9)
    for needed, cpus, share in ((small, 3, 1 / 5), (hungry, 8, 1 / 2), (keen, 16, 1.0)):
        seats = Measured([kind], lambda settings, needed=needed: needed)
        assert seats.take(0, {}) == Seat(cpus, share, "H100"), "there may be GPUs that do not answer"
    nameless = Measured([Kind("", 2, 80 * GB, 16)], lambda settings: small)
    assert nameless.take(0, {}) == Seat(3, 1 / 5)


def test_main_memory_bounds_trials_on_a_gpu_and_those_it_is_too_small_for_have_it_alone() -> None:
    nodes: list[Any] = [
        {"CPU": 32, "GPU": 2, "accelerator_type:A100": 1, "memory": 64 * GB},
        {"CPU": 32, "GPU": 2, "accelerator_type:A100": 1, "memory": 80 * GB},
        {"CPU": 32, "GPU": 4, "accelerator_type:T4": 1, "memory": 32 * GB},
    ]
    large, small = kinds_of(nodes, memory_of)
    assert (large.host_bytes, small.host_bytes) == (32 * GB, 8 * GB), "of the poorest machine"
    light = footprint(1, host=5.0, busy=0.1)
    assert (trials_on(large, light), trials_on(small, light)) == (6, 1)
    assert trials_on(Kind("T4", 4, 16 * GB, 8), light) == 8, "nobody says what is beside it"
    needs = {"hungry": footprint(1, host=12.0, busy=0.1), "giant": footprint(1, host=99.0, busy=0.1)}
    seats = Measured([large, small], lambda settings: needs[str(settings["backbone"])])
    assert [seats.take(number, {"backbone": "hungry"}).accelerator for number in range(9)] == ["A100"] * 9
    assert seats.take(9, {"backbone": "giant"}) == Seat(16, 1.0, "A100")


def test_trials_go_to_gpus_that_fit_and_have_room() -> None:
    small, large = Kind("T4", 4, 16 * GB, 8), Kind("A100", 1, 80 * GB, 16)
    needs = {"light": footprint(4, busy=0.5), "heavy": footprint(40, busy=0.5), "giant": footprint(200)}
    seats = Measured([small, large], lambda settings: needs[str(settings["backbone"])])
    taken = [seats.take(number, {"backbone": "light"}).accelerator for number in range(10)]
    assert (taken.count("T4"), taken.count("A100")) == (8, 2)
    assert seats.full
    assert seats.in_use() == {"CPU": 8 * 4 + 2 * 8, "GPU": 5.0}
    assert seats.take(10, {"backbone": "heavy"}) == Seat(16, 1.0, "A100")
    assert seats.take(11, {"backbone": "giant"}) == Seat(16, 1.0, "A100")
    for number in range(4):
        seats.leave(number)
    assert not seats.full


def test_kinds_of_gpus_are_read_from_the_nodes() -> None:
    nodes = [
        {"CPU": 16, "GPU": 2, "accelerator_type:T4": 1}, {"CPU": 32, "GPU": 4, "accelerator_type:A100": 1},
        {"CPU": 16, "GPU": 2, "accelerator_type:T4": 1}, {"CPU": 64},
    ]  # fmt: skip
    assert kinds_of(nodes, memory_of) == [Kind("A100", 4, 80 * GB, 8), Kind("T4", 4, 16 * GB, 8)]


def test_a_trial_fits_on_every_node_that_has_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_with(tmp_path, "")
    # A head without a GPU lends no cores, and 64 cores beside one GPU are no reason to pass over four beside another.
    head, workers = {"CPU": 16}, [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}]
    seats, _ = seated(monkeypatch, space, [head, *workers])
    assert (seats.concurrent, seats.take(0, {})) == (2, Seat(8, 1.0))
    uneven = [{"CPU": 64, "GPU": 1, "accelerator_type:A100": 1}, {"CPU": 4, "GPU": 1, "accelerator_type:A100": 1}]
    seats, _ = seated(monkeypatch, space, uneven)
    assert seats.take(0, {}) == Seat(4, 1.0)
    assert kinds_of(uneven, lambda node: GB) == [Kind("A100", 2, GB, 4)]


def test_a_seat_is_what_ray_is_asked_for() -> None:
    assert Seat(2, 0.5, "T4").bundle == {"CPU": 2, "GPU": 0.5, "accelerator_type:T4": 0.001}
    seats = Alike(3, 2, 0.5)
    assert (seats.take(0, {}).bundle, seats.in_use()) == ({"CPU": 2, "GPU": 0.5}, {"CPU": 2.0, "GPU": 0.5})
    seats.leave(0)
    assert seats.in_use() == {"CPU": 0.0, "GPU": 0.0}


def test_footprints_are_measured_once_and_damaged_ones_again(tmp_path: Path) -> None:
    calls: list[Any] = []
    keys = keys_of(space_with(tmp_path, "auto"))
    assert sorted(keys) == [(name, size, 32, "auto") for name in ("resnet18", "squeezenet1_1") for size in (64, 96)]
    probes = Probes(tmp_path, "cpu", lambda key: calls.append(key) or footprint(host=key.size / 64))
    probes.probe(keys)
    assert Probes(tmp_path, "cpu", lambda key: calls.append(key) or footprint()).probe(keys) == probes.probe(keys)
    assert len(calls) == 4
    next(tmp_path.glob("*.json")).write_text("{}")
    Probes(tmp_path, "cpu", lambda key: calls.append(key) or footprint()).probe(keys)
    assert len(calls) == 5
    assert key_of({"backbone": "resnet18", "image_size": 80}) == ("resnet18", 80, 32, "auto")
    assert probes.of({"backbone": "resnet18", "image_size": 80}).host_bytes == 1.5 * GB
    with pytest.raises(ClusterError, match=r"no footprint .*128"):
        probes.of({"backbone": "resnet18", "image_size": 128})
    with pytest.raises(ClusterError, match=r"no footprint .*float32"):
        probes.of({"backbone": "resnet18", "image_size": 80, "precision": "float32"})


def test_what_is_trained_in_another_precision_is_measured_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_with(tmp_path, "auto")
    space.path.write_text(space.path.read_text() + "  precision: {choice: [float32, bfloat16]}\n")
    keys = keys_of(load(space.path))
    assert Counter(key.precision for key in keys) == {"float32": 4, "bfloat16": 4}
    asked: list[Any] = []

    def heard(process: Any, question: str, pause: Any) -> None:
        asked.append(json.loads(question))
        raise StopSession

    monkeypatch.setattr("search.probes._heard", heard)
    with pytest.raises(StopSession):
        measured(keys[0])
    assert asked[0]["settings"] == {
        "backbone": keys[0].backbone, "image_size": 64, "batch_size": 32, "precision": keys[0].precision,
    }  # fmt: skip


def stop() -> None:
    raise StopSession


def test_a_session_that_is_to_end_ends_its_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    class Probe(subprocess.Popen[str]):
        def __init__(self, command: Any, **options: Any) -> None:
            super().__init__([sys.executable, "-c", "import time; time.sleep(1000)"], **options)
            begun.append(self)

    monkeypatch.setattr("search.probes.subprocess.Popen", Probe)
    with pytest.raises(StopSession):
        measured(Key("squeezenet1_1", 32, 16), pause=stop)
    monkeypatch.setattr("search.probes.PATIENCE", 0)
    with pytest.raises(ClusterError, match=r"no footprint was measured within 0 s: .*squeezenet1_1"):
        measured(Key("squeezenet1_1", 32, 16))
    assert [each.poll() for each in begun] == [-signal.SIGKILL] * 2


def test_a_session_that_is_to_end_does_not_wait_for_the_probe_of_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled: list[Any] = []
    task = SimpleNamespace(remote=lambda key, device: "answer")
    ray = SimpleNamespace(
        remote=lambda **options: lambda function: task,
        wait=lambda answers, timeout: ([], answers),
        cancel=lambda answer, force: cancelled.append(answer),
    )
    monkeypatch.setattr(seating, "ray", ray)
    with pytest.raises(StopSession):
        seating._on("T4", stop)(Key("squeezenet1_1", 32, 16))
    assert cancelled == ["answer"]


@pytest.mark.slow
def test_a_real_footprint_grows_with_the_image_and_a_broken_one_says_why() -> None:
    small, large = (measured(Key("squeezenet1_1", size, 16)) for size in (32, 224))
    assert 0 < small.host_bytes < large.host_bytes < 8 * GB
    assert (small.device_bytes, small.busy) == (0, 1.0)
    assert small.images_per_second > large.images_per_second > 0
    with pytest.raises(ClusterError, match=r"squeezenet9 .*cannot be measured: .*no backbone 'squeezenet9'"):
        measured(Key("squeezenet9", 32, 16))
