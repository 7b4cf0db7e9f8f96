"""What travels to a cluster with a search, the words that the head is sent, and where relative paths lead there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.cli import build_parser, main
from search.commands import remote_search
from search.errors import ClusterError
from search.preflight import missing_weights, named_weights
from search.remote import jobs, luggage
from search.remote.cluster_file import Cluster
from search.remote.jobs import Jobs
from search.space import load

ROOT = Path(__file__).parents[2]


def test_texts_and_named_weights_travel_data_and_environments_do_not(tmp_path: Path) -> None:
    for name in ("spaces/a.yaml", "lesion/data/x.py", "weights/w.safetensors", "costs.csv",
                 "data/isic/image.csv", ".venv/b.py", "env/pyvenv.cfg", "env/c.py", "work/checkpoints/d.json",
                 "photo.jpg", "weights/other.safetensors"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    named = ["weights/w.safetensors", "/mnt/lesions/on-the-machines.pth"]
    with luggage.packed(tmp_path, named) as made:
        travels = files_in(made.folder)
    assert travels == {"spaces/a.yaml", "lesion/data/x.py", "weights/w.safetensors", "costs.csv"}
    assert str(made.inside) == "."
    assert not made.folder.exists()


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_weights_outside_the_folder_travel_and_their_relative_paths_stay_true(tmp_path: Path) -> None:
    written(tmp_path, "me/project/a.yaml", "shared/x.pth", "me/y.pth", "me/project/weights/z.pt", "me/secret.yaml")
    here = tmp_path / "me" / "project"
    named = ["../../shared/x.pth", "models/../../y.pth", "weights/z.pt", "../project/weights/z.pt"]
    (here / "models").mkdir()
    with luggage.packed(here, named) as made:
        assert str(made.inside) == "me/project"
        travels = files_in(made.folder)
        assert all((made.folder / made.inside / name).is_file() for name in named)
    assert travels == {"me/project/a.yaml", "me/project/weights/z.pt", "shared/x.pth", "me/y.pth"}


def test_weights_that_are_missing_are_told_before_anything_travels(tmp_path: Path) -> None:
    written(tmp_path, "a.yaml")
    with (
        pytest.raises(ClusterError, match=r"no file \.\./none\.pth .*named by their full path"),
        luggage.packed(tmp_path, ["../none.pth"]),
    ):
        pass


class Client:
    """Ray's client of jobs; keeps what is submitted, with a copy of what travels."""

    def __init__(self, keep: Path) -> None:
        self.keep, self.given = keep, {}

    def submit_job(self, **given: Any) -> None:
        self.given = given
        shutil.copytree(given["runtime_env"]["working_dir"], self.keep)

    def on_the_head(self, path: Path) -> str:
        """What the command prints where Ray runs it: at the top of the copy, through a shell."""
        variables = {"PATH": f"{path}:{os.environ['PATH']}", **self.given["runtime_env"]["env_vars"]}
        line = self.given["entrypoint"]
        return subprocess.run(
            line, shell=True, cwd=self.keep, env=variables, text=True, stdout=subprocess.PIPE, check=True
        ).stdout


def test_the_head_and_the_workers_run_where_relative_paths_are_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "my project/a.yaml", "my project/own_code.py", "shared/x.pth")
    here = tmp_path / "my project"
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "lesion-search"
    says = "import own_code, sys; print(sys.argv[1:], open('../shared/x.pth').read())"
    command.write_text(f"#!{sys.executable}\n{says}\n")
    command.chmod(0o755)
    (here / "own_code.py").write_text("")
    client = Client(tmp_path / "there")
    with luggage.packed(here, ["../shared/x.pth"]) as made:
        Jobs(client).submit("a", ["lesion-search", "run", "a.yaml"], made)
    assert client.on_the_head(command.parent).strip() == "['run', 'a.yaml'] shared/x.pth"
    # A worker of Ray's is started at the top, with the same variables.
    worker = "import own_code; from search.remote.luggage import enter; enter(); print(open('../shared/x.pth').read())"
    variables = client.given["runtime_env"]["env_vars"]
    path = os.pathsep.join([variables["PYTHONPATH"], str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", worker], cwd=client.keep, env={**variables, "PYTHONPATH": path}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "shared/x.pth"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The client of a cluster on which no search runs, and whose jobs end at once."""
    client = Client(tmp_path / "there")

    @contextmanager
    def jobs_of(cluster: Cluster) -> Iterator[Jobs]:
        yield Jobs(client)

    monkeypatch.setattr(jobs, "jobs_of", jobs_of)
    monkeypatch.setattr(Jobs, "listed", lambda *_: [])
    monkeypatch.setattr(remote_search, "_follow", lambda *_: 0)
    return client


@pytest.mark.slow  # it names a backbone of timm's, whose import alone takes seconds
def test_the_readme_s_search_finds_its_weights_on_the_head(
    tmp_path: Path, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "project"
    shutil.copytree(ROOT / "spaces", here / "spaces")
    shutil.copy(ROOT / "cluster.yaml", here)
    monkeypatch.chdir(here)
    space = Path("spaces/isic2017.yaml")
    files = [file for _, file in named_weights(load(space))]
    assert files[0].startswith("../")
    written(here, *files)
    assert main(["run", str(space), "--cluster", "cluster.yaml"]) == 0
    assert there.given["entrypoint"].endswith("exec lesion-search run spaces/isic2017.yaml --address auto")
    monkeypatch.chdir(there.keep / "project")
    assert missing_weights(load(space)) == []


def test_what_a_space_extends_and_the_texts_that_it_names_are_found_on_the_head(
    tmp_path: Path, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "lab" / "project"
    written(tmp_path, "lab/costs.csv", "lab/project/data/near.csv", "lab/secret.yaml")
    shutil.copy(ROOT / "spaces" / "smoke.yaml", tmp_path / "base.yaml")
    shutil.copy(ROOT / "cluster.yaml", here)
    (tmp_path / "lab" / "ours.yaml").write_text("extends: ../base.yaml\n")
    # In a folder that is left out where nothing names what is in it.
    (here / "demo").mkdir()
    losses = "{focal: , cost_matrix: {file: {choice: [../costs.csv, data/near.csv]}}}"
    (here / "demo" / "mine.yaml").write_text(f"extends: ../../ours.yaml\nspace: {{loss: {{choice: {losses}}}}}\n")
    monkeypatch.chdir(here)
    assert main(["run", str(here / "demo" / "mine.yaml"), "--cluster", "cluster.yaml"]) == 0
    assert "lesion-search run demo/mine.yaml" in there.given["entrypoint"]
    sent = files_in(there.keep)
    monkeypatch.chdir(there.keep / "lab" / "project")
    assert load("demo/mine.yaml").tree == load(here / "demo" / "mine.yaml").tree
    texts = {"lab/costs.csv", "lab/project/data/near.csv", "base.yaml", "lab/ours.yaml", "lab/project/demo/mine.yaml"}
    assert sent == {*texts, "lab/project/cluster.yaml"}


def test_every_option_of_a_run_travels_or_is_refused(
    tmp_path: Path, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "spaces" / "smoke.yaml", tmp_path / "a.yaml")
    shutil.copy(ROOT / "cluster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    known = set(vars(build_parser().parse_args(["run", "a.yaml"]))) - {"command", "run", "space", "cluster", "version"}
    here = {"workspace", "address"}
    given = {"data": "other", "overrides": "image_size=32", "name": "mine"}
    for option in sorted(known - here):
        words = ["--set" if option == "overrides" else f"--{option.replace('_', '-')}", given.get(option, "3")]
        assert main(["run", "a.yaml", "--cluster", "cluster.yaml", *words]) == 0
        sent = there.given["entrypoint"].replace("3.0", "3").split()
        assert words in [sent[i : i + 2] for i in range(len(sent))], option
        shutil.rmtree(there.keep)
    for option in here:
        assert main(["run", "a.yaml", "--cluster", "cluster.yaml", f"--{option}", "x"]) == 2


def test_a_folder_that_needs_nothing_from_outside_is_sent_as_ever(tmp_path: Path) -> None:
    written(tmp_path, "project/a.yaml")
    client = Client(tmp_path / "there")
    with luggage.packed(tmp_path / "project") as made:
        Jobs(client).submit("a", ["lesion-search", "run", "a.yaml"], made)
    assert client.given["entrypoint"] == "lesion-search run a.yaml"
    assert not {"LESION_FOLDER", "PYTHONPATH"} & set(client.given["runtime_env"]["env_vars"])


def test_a_space_elsewhere_and_too_much_luggage_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "a.yaml").write_text("x")
    with pytest.raises(ClusterError, match=r"is not in .*here, which is what travels"):
        luggage.within(here, tmp_path / "a.yaml")
    monkeypatch.setattr(luggage, "FILES", 1)
    (tmp_path / "b.yaml").write_text("x")
    with (
        pytest.raises(ClusterError, match="2 files of 0 MiB would travel"),
        luggage.packed(tmp_path),
    ):
        pass
