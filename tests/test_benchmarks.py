"""The programs that searches are compared with: they train one trial of one epoch, so that they cannot rot."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lesion.data.synthesise import synthesise
from search.simulation import Curve, write_curves

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ("--size", "32", "--trials", "1", "--epochs", "1")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("drawn") / "isic2017", images=(48, 24, 0), pixels=(48, 36))


def run(script: str, *words: object, path: Path = BENCHMARKS.parent) -> str:
    environment = os.environ | {
        "PYTHONPATH": f"{path}{os.pathsep}{BENCHMARKS.parent}", "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1",
        "RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "300",  # for where others have the machine
    }  # fmt: skip
    command = [sys.executable, str(BENCHMARKS / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_ours_and_plain_optuna_in_turn(source: Path) -> None:
    """`stock.py` runs below, where the time between its trials is measured."""
    table = run("end_to_end.py", source, "--packed-size", "32", "--rounds", "1", "--against", "plain Optuna", *SMALL)
    for way in ("ours", "plain Optuna"):
        assert re.search(rf"\| {way} \| \d+\.\d \| \d+\.\d \| \d+\.\d\d \| [01]\.\d+ \|", table), table
    assert "cores" in table


def test_packing_without_a_gpu_and_without_ray_optuna_or_mlflow(tmp_path: Path) -> None:
    for name in ("ray", "optuna", "mlflow", "sqlalchemy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not on that machine')")
    small = [f"--set={each}" for each in ("backbone=squeezenet1_1", "image_size=32", "batch_size=8")]
    count = ("--images", "40", "--epochs", "1", "--at-a-time", "1", "2", "--device", "cpu", "--cores", "1")
    told = run("packing.py", *count, *small, path=tmp_path)
    numbers = r"\d+\.\d \| ×\d+\.\d\d \| \d+ \| \d+ \| \d+ \| – \| 1 \| – \|"
    for at_a_time in (1, 2):
        assert re.search(rf"\| {at_a_time} \| {numbers}", told), told
    assert re.search(r"Of 2, one asked for all: refused, with \d+ MiB of 256; 1 of 1 others trained on", told), told


def test_a_search_of_a_cluster_s_size_without_a_cluster(tmp_path: Path) -> None:
    """Recorded curves through the real driver: every trial ends, and MLflow holds them all."""
    settings = ({"head": "linear", "lr": 1e-4 * (1 + number)} for number in range(6))
    curves = [Curve(each, (0.3, 0.4, 0.4 + 0.01 * number), 5.0 + number) for number, each in enumerate(settings)]
    write_curves(tmp_path / "curves.json", curves)
    told = run("simulated_cluster.py", tmp_path / "curves.json", "--trials", 24, "--workers", 8, "--rows", 2)
    assert re.findall(r"^\| (\d+) \| \d+\.\d \| \d+\.\d \| \d+\.\d \|", told, re.MULTILINE) == ["12", "24"], told
    assert "MLflow held everything" in told


def test_what_finalists_say_of_the_winner_s_curse_holds():
    """1000 searches of a fixed seed, of seeds and of folds: a share of 0.95 scatters by 0.007."""
    told = re.findall(r"^\| (\d.*?) \| (.+?) \| (\S+) \| \S+ \|$", run("finalists.py", "--draws", 1000), flags=re.M)
    held = {(runs, name): float(share) for runs, name, share in told}
    for runs in ("3 seeds", "1 and 2 seeds", "5 folds", "3 folds"):
        assert 0.925 <= held[runs, "expected drop"] <= 0.97
        assert 0.93 <= held[runs, "behind, each"] <= 0.99


def test_the_calibration_error_of_few_images():
    told = run("calibration_error.py", "--draws", 3, "--samples", 50)
    assert len(re.findall(r"^\| (150|600), .*\|$", told, flags=re.M)) == 16


def test_effects_of_components_where_the_scheduler_stops_trials():
    told = run("effects.py", "--stop", "--studies", 1, "--trials", 40)
    table = re.findall(r"^(epoch 1|epoch 3|complete) +(model|means) +\d+ +(\S+)", told, flags=re.M)
    assert {stage for stage, *_ in table} >= {"epoch 1", "epoch 3"}, told
    assert all(0.5 < float(held) <= 1 for *_, held in table), told
    counts = [int(count) for count in re.findall(r"of 1 studies, (\d+) trials", told)]
    assert counts[0] == 40
    assert all(after < before for before, after in itertools.pairwise(counts)), "the scheduler stopped some"


def test_trials_of_one_second_are_counted_through_the_real_driver():
    told = run("second_trials.py", "--trials", 5, "--at-a-time", 2, "--rows", 1)
    assert "5 trials complete" in told, told
    assert re.search(r"^\| 5 \| \d+\.\d \| \+\d+\.\d% \| \d+ \|$", told, flags=re.M), told


def test_the_time_between_two_trials(source: Path):
    told = run("turnaround.py", source, "--packed-size", 32, "--trials", 5)
    for way in ("ours", "stock"):
        found = re.search(rf"^\| {way} \| (\d+\.\d\d) \| \d+\.\d\d \| \d+\.\d\d \|$", told, flags=re.M)
        assert found, told
        assert 0 < float(found[1]) < 120


def test_preparing_against_a_loop_on_photos_that_are_drawn_larger(tmp_path: Path):
    small = synthesise(tmp_path / "small", layout="isic2018", images=(300, 0, 0))
    told = run("prepare.py", small, "--photo", 90, 60, "--size", 32, "--rounds", 1)
    assert re.search(r"^\| loop \| \d+\.\d \| 1\.00 \| \d+ \|$", told, flags=re.M), told
    assert re.search(r"^\| prepare \| \d+\.\d \| \d+\.\d\d \| \d+ \|$", told, flags=re.M), told
