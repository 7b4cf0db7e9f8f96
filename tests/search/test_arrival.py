"""The first GPU is waited for where one may come, and nowhere else; Ray and its autoscaler are played."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search import arrival, cluster, elastic, seating
from search.arrival import JOINING, may_come
from search.errors import ClusterError, ClusterStartError
from search.seats import Alike
from search.space.resources import Resources

GPU = {"CPU": 8.0, "GPU": 1.0}
ONE = {"CPU": 1, "GPU": 1}
CLOUD = {
    "head": {"resources": {"CPU": 0}, "min_workers": 0, "max_workers": 0},
    "gpu": {"resources": {"CPU": 8, "GPU": 1}, "min_workers": 0, "max_workers": 8},
}
OWN = {"local.cluster.node": {"resources": {}, "min_workers": 2, "max_workers": 2}}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Has the cluster be started from a file with these kinds of machines."""
    monkeypatch.setattr(arrival, "BOOTSTRAP", str(tmp_path / "bootstrap"))
    monkeypatch.delenv(arrival.KUBERAY, raising=False)
    return lambda kinds: (tmp_path / "bootstrap").write_text(json.dumps({"available_node_types": kinds}))


def test_an_autoscaler_that_knows_gpus_may_bring_one(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not may_come(1, 0, ONE), "a cluster that was started by hand has no autoscaler"
    started(CLOUD)
    assert may_come(1, 1000, ONE)
    assert not may_come(1, 0, {"CPU": 1, "GPU": 2}), "two GPUs of a trial are on one machine"
    assert may_come(1, 0, {"CPU": 8, "GPU": 0})
    assert not may_come(1, 0, {"CPU": 9, "GPU": 0}), "so are its cores"
    started({**CLOUD, "gpu": {**CLOUD["gpu"], "max_workers": 0}})
    assert not may_come(1, 0, ONE)
    started({"gpu": {"resources": {"GPU": 1}, "max_workers": 8}})
    assert may_come(1, 0, {"CPU": 64, "GPU": 1}), "nobody says how many cores"
    started(["not a cluster's"])
    assert not may_come(1, 0, ONE)
    monkeypatch.setenv(arrival.KUBERAY, "1")
    assert may_come(1, 1000, ONE)


def test_machines_of_one_s_own_are_waited_for_until_all_have_joined(started: Any) -> None:
    started(OWN)
    assert may_come(2, 0, ONE)
    assert not may_come(3, 0, ONE), "all have joined, and none has a GPU"
    assert not may_come(2, JOINING, ONE), "one of them is off"


class Ray:
    """A cluster whose machine with a GPU comes after some looks, if it comes."""

    def __init__(self, comes_after: int | None) -> None:
        self.comes_after, self.nodes, self.looks, self.asked = comes_after, [{"CPU": 4.0}], 0, []

    def alive(self) -> list[dict[str, float]]:
        return self.nodes

    def placeholder(self, shape: Any) -> Any:
        self.asked.append(dict(shape))
        return SimpleNamespace(ready=self.ready, remove=lambda: None)

    def ready(self) -> bool:
        self.looks += 1
        if self.comes_after is not None and self.looks > self.comes_after:
            self.nodes = [{"CPU": 4.0}, GPU]
        return len(self.nodes) > 1


@pytest.fixture
def seated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Seats of a plan on a cluster; what was told."""

    def seat(ray: Ray, resources: Resources, address: str | None = "auto", **plan: Any) -> list[str]:
        told: list[str] = []
        monkeypatch.setattr(cluster, "alive_nodes", ray.alive)
        monkeypatch.setattr(elastic, "Placeholder", ray.placeholder)
        monkeypatch.setattr(elastic.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(seating, "alive_nodes", ray.alive)
        monkeypatch.setattr(seating, "measured_seats", lambda *_: Alike(1, 1, 1.0))
        monkeypatch.setattr(elastic, "growing", lambda seats, *_: seats)
        made = SimpleNamespace(
            resources=resources, address=address, warn=told.append, keys=tuple, concurrent=None,
            workspace=SimpleNamespace(cache=Path()), **{"gpus_per_trial": None, **plan},
        )  # fmt: skip
        elastic.seats_of(made, 3, lambda: None)
        return told

    return seat


@pytest.mark.parametrize("resources", [Resources(auto=True), Resources(gpu=1.0)])
def test_what_the_space_asks_for_is_waited_for_where_it_may_come(
    started: Any, seated: Any, resources: Resources
) -> None:
    started(CLOUD)
    ray = Ray(comes_after=3)
    assert seated(ray, resources) == ["no machine has room for 1 CPU, 1 GPU yet: waiting for one"]
    assert ray.asked == [{"CPU": 1, "GPU": 1.0}]
    assert len(ray.nodes) == 2


@pytest.mark.parametrize(
    ("head", "comes", "asked", "options"),
    [
        ({"CPU": 4.0}, {"CPU": 16.0}, {"CPU": 8, "GPU": 0.0}, {}),
        ({"CPU": 4.0}, {"CPU": 16.0}, {"CPU": 8, "GPU": 0.0}, {"gpus_per_trial": 0.0}),
        # Nothing is said of GPUs, so a trial gets one where there are any.
        ({"CPU": 4.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 1.0}, {"CPU": 8, "GPU": 1.0}, {}),
    ],
)
def test_a_machine_with_the_cores_that_the_space_asks_for_is_waited_for_while_workers_join(
    started: Any, seated: Any, head: Any, comes: Any, asked: Any, options: Any
) -> None:
    started(OWN)
    ray = Ray(comes_after=None)
    ray.nodes = [head]

    def ready() -> bool:
        if ray.looks:
            ray.nodes = [head, comes]
        ray.looks += 1
        return len(ray.nodes) > 1

    ray.ready = ready  # type: ignore[method-assign]
    waited, *_ = seated(ray, Resources(cpu=8), **options)
    words = "8 CPU, 1 GPU" if asked["GPU"] else "8 CPU"
    assert (waited, ray.asked) == (f"no machine has room for {words} yet: waiting for one", [asked])


def test_cores_that_no_machine_will_have_are_told_of_at_once(started: Any, seated: Any) -> None:
    ray = Ray(comes_after=None)
    with pytest.raises(ClusterError, match=r"resources\.cpu is 8, no node has more than 4 cores"):
        seated(ray, Resources(cpu=8))
    assert ray.asked == []


def test_without_an_autoscaler_a_space_that_asks_for_a_gpu_does_not_wait(started: Any, seated: Any) -> None:
    ray = Ray(comes_after=None)
    for resources in (Resources(gpu=0.5), Resources(auto=True)):
        [line] = seated(ray, resources)
        assert line.startswith(seating.NO_GPU)
    assert ray.asked == []


def test_machines_that_all_came_without_a_gpu_end_the_waiting(started: Any, seated: Any) -> None:
    started(OWN)
    ray = Ray(comes_after=None)
    ray.ready = lambda: ray.nodes.append({"CPU": 4.0}) is not None  # type: ignore[method-assign]
    waited, line = seated(ray, Resources(gpu=0.5))
    assert waited.startswith("no machine has room")
    assert line.startswith(seating.NO_GPU)
    assert len(ray.nodes) >= 3


def test_what_the_command_asks_for_is_waited_for_in_any_case(
    started: Any, seated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(seated(Ray(comes_after=3), Resources(), gpus_per_trial=0.5)) == 1
    monkeypatch.setattr(elastic, "ARRIVAL", 0.0)
    with pytest.raises(ClusterStartError, match=r"0\.5 GPU came within 0 minutes"):
        seated(Ray(comes_after=None), Resources(), gpus_per_trial=0.5)


def test_a_gpu_that_is_there_is_not_waited_for_though_it_is_taken(started: Any, seated: Any) -> None:
    ray = Ray(comes_after=None)
    ray.nodes = [GPU]
    assert seated(ray, Resources(auto=True), gpus_per_trial=1.0) == []
    assert ray.asked == []


@pytest.mark.parametrize(("resources", "asked"), [(Resources(), None), (Resources(gpu=0.5), None), (Resources(), 0.5)])
def test_one_machine_waits_for_no_gpu(started: Any, seated: Any, resources: Resources, asked: float | None) -> None:
    started(CLOUD)
    ray = Ray(comes_after=None)
    assert seated(ray, resources, address=None, gpus_per_trial=asked) == [seating.NO_GPU]
    assert ray.asked == []


def test_that_there_is_no_gpu_is_told_once_unless_it_was_ruled_out(started: Any, seated: Any) -> None:
    line = "no GPU here: trials train on CPU cores; --gpus-per-trial 1 waits for a machine with one"
    assert seated(Ray(comes_after=None), Resources()) == [line]
    assert seated(Ray(comes_after=None), Resources(gpu=0.0)) == []
    assert seated(Ray(comes_after=None), Resources(), gpus_per_trial=0.0) == []
    ray = Ray(comes_after=None)
    ray.nodes = [GPU]
    assert seated(ray, Resources()) == []


def test_a_gpu_that_the_command_asked_for_and_that_left_again_is_an_error(started: Any, seated: Any) -> None:
    ray = Ray(comes_after=0)
    ray.alive = lambda: [{"CPU": 4.0}]  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match=r"--gpus-per-trial asks for 0\.5 GPUs, there are 0"):
        seated(ray, Resources(), gpus_per_trial=0.5)
