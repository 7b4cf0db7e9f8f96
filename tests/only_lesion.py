"""An environment that holds nothing but what lesion/requirements.txt brings: links to those packages of this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LIST = ROOT / "lesion" / "requirements.txt"
JUDGE = """
import json, sys
import torch
from lesion.predictor import Predictor
torch.set_num_threads(int(sys.argv[1])) # the last digits of a convolution depend on it
predictor = Predictor.load(sys.argv[2])
judged = predictor.predict_files(sys.argv[3:]).to_frame()
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"judged": judged.to_dict("list"), "modules": modules}))
"""


def listed() -> list[Requirement]:
    """The lines of the list."""
    return [Requirement(line) for line in LIST.read_text().splitlines() if not line.startswith("#")]


def name_of(distribution_name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", distribution_name).lower()


def brought() -> set[str]:
    """Names of the distributions on the list, and of all that these require themselves."""
    found: set[str] = set()
    waiting = [(each, "") for each in listed()]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = name_of(wanted.name)
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            waiting += [(Requirement(each), "") for each in requires]
        waiting += [(Requirement(each), asked) for asked in wanted.extras for each in requires if "extra" in each]
        found.add(name)
    return found


def environment(folder: Path) -> dict[str, str]:
    """Variables of a process that, started with ``-S``, imports from `folder` and the repository alone."""
    folder.mkdir()
    for name in brought():
        one = distribution(name)
        tops = {file.parts[0] for file in one.files or [] if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link, there = folder / top, Path(str(one.locate_file(top)))
            if there.exists() and not link.is_symlink():
                link.symlink_to(there)
    for package in ("lesion", "search"):
        (folder / package).symlink_to(ROOT / package)
    return os.environ | {"PYTHONPATH": str(folder)}


def run(words: list[str], variables: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with `words` in that environment."""
    return subprocess.run(
        [sys.executable, "-S", *words], capture_output=True, text=True, env=variables, cwd=cwd, check=False
    )


def judged_there(model: Path, photos: list[Path], variables: dict[str, str], cwd: Path) -> str:
    """JSON: what the model in a folder says there of photos as columns, and the modules that it imported."""
    done = run(["-c", JUDGE, str(torch.get_num_threads()), str(model), *map(str, photos)], variables, cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout
