"""The cluster files: valid by Ray's own schema, readable by our commands, and what is wrong with one is told."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.cli import build_parser
from search.errors import ClusterError
from search.remote.cluster_file import read_cluster, settings_of
from search.remote.ssh import OWN

ROOT = Path(__file__).parents[2]
OURS = ROOT / "cluster.yaml"
CLOUDS = [ROOT / "docs" / "clusters" / f"{name}.yaml" for name in ("aws", "gcp")]
KUBERAY = ROOT / "docs" / "clusters" / "kuberay.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

BRINGS = {
    "aws": {"boto3": "boto3", "botocore": "boto3"},
    "gcp": {
        "googleapiclient": "google-api-python-client", "google": "google-api-python-client",
        "google_auth_httplib2": "google-auth-httplib2", "httplib2": "httplib2",
    },
}  # fmt: skip
"""By provider: what of others Ray imports for it, and the requirement that brings it."""


def prepared(path: Path) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    return config


@pytest.mark.parametrize("path", [OURS, *CLOUDS], ids=lambda path: path.stem)
def test_ray_takes_the_file(path: Path) -> None:
    config = prepared(path)
    started = " ".join(config["head_start_ray_commands"])
    assert "lesion-search cluster tracking" in started
    assert "--dashboard-host=127.0.0.1" in started
    assert "RAY_AUTH_MODE" in settings_of(config["metadata"]["settings"])
    assert config["setup_commands"][1] == f"echo '! test -f {OWN} || . {OWN}' >> ~/.lesion-cluster"
    every = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(line.startswith(". ~/.lesion-cluster && ") for line in every)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("path", [OURS, *CLOUDS], ids=lambda path: path.stem)
@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize(("failures", "code"), [(0, 0), (1, 0), (2, 0), (3, 1)])
def test_a_start_of_ray_that_fails_is_tried_again(
    tmp_path: Path, path: Path, role: str, failures: int, code: int
) -> None:
    (command,) = (line for line in prepared(path)[f"{role}_start_ray_commands"] if "ray start --" in line)
    log = tmp_path / "ray.log"
    (tmp_path / "ray").write_text(f"#!/bin/sh\necho $1 >> {log}\ntest $(grep -c start {log}) -gt {failures}\n")
    (tmp_path / "ray").chmod(0o755)
    (tmp_path / ".lesion-cluster").touch()
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    assert subprocess.run(["bash", "-c", command], env=variables, check=False, timeout=30).returncode == code
    said = log.read_text().split()
    # What is left of a start that failed would be in the way of the next.
    assert said[: 2 * min(failures, 3)] == ["start", "stop"] * min(failures, 3)
    assert said[2 * failures :] == ["start"] * (failures < 3)


@pytest.mark.parametrize("path", [OURS, *CLOUDS], ids=lambda path: path.stem)
def test_the_environment_is_made_with_the_python_that_the_file_names(tmp_path: Path, path: Path) -> None:
    """On a machine whose python3 is too old, as that of Ubuntu 22.04."""
    text = path.read_text()
    assert text.count('PYTHON="python3"') == 1
    config = yaml.safe_load(text.replace('PYTHON="python3"', 'PYTHON="mine"'))
    said = {"python3": "echo too old; exit 1", "mine": f"echo $* >> {tmp_path}/asked"}
    said["python"] = f"echo pip >> {tmp_path}/asked"
    for name, body in said.items():
        place = tmp_path / ("lesion-environment/bin" if name == "python" else "bin") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"#!/bin/sh\n{body}\n")
        place.chmod(0o755)
    (tmp_path / "lesion-search").symlink_to(ROOT)
    variables = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
    make = [command for command in config["setup_commands"] if "make --directory" in command]
    for command in [config["metadata"]["settings"], *make]:
        subprocess.run(["bash", "-c", command], env=variables, check=True, timeout=30)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0].startswith("-c import sys")
    assert asked[-1] == "pip"


@pytest.mark.parametrize("path", [OURS, *CLOUDS], ids=lambda path: path.stem)
@pytest.mark.parametrize("before", [None, 0o644])
def test_what_a_machine_is_told_is_for_its_account_alone(tmp_path: Path, path: Path, before: int | None) -> None:
    file = tmp_path / ".lesion-cluster"
    if before is not None:
        file.write_text("export OLD=1\n")
        file.chmod(before)
    command = yaml.safe_load(path.read_text())["metadata"]["settings"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["bash", "-c", f"umask 022; {command}"], env=variables, check=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(settings_of(file.read_text().replace("export ", ""))) == len(settings_of(command))


@pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)
def test_clouds_scale_from_nothing_to_spot_gpus(path: Path) -> None:
    config = prepared(path)
    workers = config["available_node_types"]["gpu"]
    assert (workers["min_workers"], workers["max_workers"], workers["resources"]["GPU"]) == (0, 8, 1)
    assert "spot" in json.dumps(workers["node_config"]).lower()
    assert "RAY_enable_autoscaler_v2=0" not in " ".join(config["head_start_ray_commands"])


@pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)
def test_machines_of_the_clouds_have_what_make_install_needs(path: Path) -> None:
    # Ubuntu 22.04's Python is 3.10, which `make install` refuses; Debian and Ubuntu leave `venv` out of theirs.
    (image,) = re.findall(r"^.*(?:ami-id|sourceImage).*$", path.read_text(), re.MULTILINE)
    assert re.search(r"ubuntu-24\.?04", image)
    (before,) = yaml.safe_load(path.read_text())["initialization_commands"]
    installed = re.search(r"apt-get \S+ \S+ install -y -qq (.*?) &&", before)
    assert installed
    assert {"make", "python3-venv"} <= set(installed.group(1).split())


def test_what_ray_up_installs_reads_data_on_s3_and_google_cloud() -> None:
    assert "-e '.[test]'" in (ROOT / "Makefile").read_text()
    (ours,) = (each for each in EXTRAS["test"] if each.startswith("lesion-search["))
    assert "remote" in ours
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {re.split("[><=]", each)[0] for each in EXTRAS["remote"]} <= pinned
    for path in (OURS, *CLOUDS):
        commands = yaml.safe_load(path.read_text())["setup_commands"]
        assert any("make --directory ~/lesion-search --silent install" in command for command in commands)


@pytest.mark.parametrize("provider", sorted(BRINGS))
def test_what_make_install_installs_is_what_ray_asks_a_cloud_with(provider: str) -> None:
    import ray

    sources = (Path(ray.__file__).parent / "autoscaler" / "_private" / provider).rglob("*.py")
    imported = {module for source in sources for module in modules_of(source)}
    assert imported - sys.stdlib_module_names - {"ray", "packaging"} == set(BRINGS[provider])
    names = {re.split("[><=]", each)[0] for each in EXTRAS[provider]}
    assert names == set(BRINGS[provider].values())
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names <= pinned
    (ours,) = (each for each in EXTRAS["test"] if each.startswith("lesion-search["))
    assert provider in ours


def modules_of(source: Path) -> set[str]:
    """What a file imports, by the first word of the name."""
    lines = list(ast.walk(ast.parse(source.read_text())))
    absolute = [line.module for line in lines if isinstance(line, ast.ImportFrom) and line.module and not line.level]
    whole = [each.name for line in lines if isinstance(line, ast.Import) for each in line.names]
    return {name.partition(".")[0] for name in [*absolute, *whole]}


@pytest.mark.slow  # their libraries take seconds to import
@pytest.mark.parametrize("provider", sorted(BRINGS))
def test_ray_imports_what_asks_a_cloud(provider: str) -> None:
    if absent := [name for name in BRINGS[provider] if find_spec(name) is None]:
        pytest.skip(f"{', '.join(absent)} of the extra {provider!r} not installed here: 'make install' does")
    from ray.autoscaler._private.providers import _get_node_provider_cls

    assert _get_node_provider_cls({"type": provider}).__name__ == f"{provider.upper()}NodeProvider"


@pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)
def test_ray_installs_nothing_of_its_own_choice_on_a_cloud_s_head(path: Path) -> None:
    # Where a file gives no head_setup_commands, those of Ray's defaults are merged into it: pip without our versions.
    config = prepared(path)
    assert config["head_setup_commands"] == config["setup_commands"]
    assert not any("pip install" in command for command in config["head_setup_commands"])


@pytest.mark.parametrize(
    ("path", "module", "name"),
    [(CLOUDS[0], "boto3", "boto3"), (CLOUDS[1], "googleapiclient", "google-api-python-client")],
    ids=("aws", "gcp"),
)
def test_a_cloud_s_library_that_is_missing_is_named_with_the_fix(
    path: Path, module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ClusterError) as raised:
        read_cluster(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ")
    assert f"{module} is not installed" in said
    extra = path.stem
    assert f"'make install', or pip install -c constraints.txt -e '.[{extra}]'" in said
    assert "logged in" not in said
    assert any(name in each for each in EXTRAS[extra])
    # The file itself says so where one begins to read it, and so does the guide.
    head = path.read_text().partition("cluster_name")[0]
    assert "make install" in head
    assert f"'.[{extra}]'" in head
    assert f"'.[{extra}]'" in (ROOT / "docs" / "clusters" / "README.md").read_text()


def test_the_image_for_kubernetes_takes_what_is_there_and_the_manifest_s_ray() -> None:
    (file,) = re.findall(r"```\n(FROM .*?)```", (ROOT / "docs" / "clusters" / "README.md").read_text(), re.DOTALL)
    version = yaml.safe_load(KUBERAY.read_text())["spec"]["rayClusterSpec"]["rayVersion"]
    assert file.startswith(f"FROM rayproject/ray:{version}-py312\n")
    assert f"ray=={version}\n" in (ROOT / "constraints.txt").read_text()
    copied = [word for line in re.findall("COPY (.*)", file) for word in line.split()[1:-1]]
    assert {"pyproject.toml", "constraints.txt", "lesion", "search"} <= set(copied)
    # What the package names of its own besides the two.
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (extras,) = re.findall(r"lesion-search\[(.*?)\]", file)
    assert set(extras.split(",")) <= set(EXTRAS)
    assert {"cluster", "remote"} <= set(extras.split(","))


@pytest.mark.parametrize("path", [OURS, *CLOUDS], ids=lambda path: path.stem)
def test_every_machine_is_told_where_its_copies_of_data_lie(path: Path) -> None:
    from lesion.data.travel import VARIABLE

    assert VARIABLE in settings_of(yaml.safe_load(path.read_text())["metadata"]["settings"])
    assert VARIABLE in (ROOT / "docs" / "clusters" / "README.md").read_text()


@pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)
def test_the_commands_of_the_clouds_parse_and_ask_for_the_gpus_that_come(path: Path) -> None:
    lines = [
        line.removeprefix("#   ") for line in path.read_text().splitlines() if line.startswith("#   lesion-search ")
    ]
    parsed = [build_parser().parse_args(shlex.split(line)[1:]) for line in lines]
    (search,) = (args for args in parsed if args.command == "run")
    assert search.gpus_per_trial == 1
    assert ROOT / search.cluster == path


def test_the_wrong_field_would_be_refused(tmp_path: Path) -> None:
    import jsonschema

    broken = tmp_path / "cluster.yaml"
    broken.write_text(OURS.read_text().replace("setup_commands:", "setup_comands:", 1))
    with pytest.raises(jsonschema.ValidationError, match="setup_comands"):
        prepared(broken)


def test_kuberay_s_autoscaler_takes_the_manifest() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    job = yaml.safe_load(KUBERAY.read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    # The RayCluster that the operator makes of a RayJob; deriving validates it against Ray's schema.
    cluster = {"metadata": {"name": "isic2017", "namespace": "default"}, "spec": job["spec"]["rayClusterSpec"]}
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    assert config["available_node_types"]["gpu"]["resources"]["GPU"] == 1
    assert config["available_node_types"]["gpu"]["min_workers"] == 0
    assert config["idle_timeout_minutes"] == 5


def test_kuberay_s_submitter_reaches_the_head_with_the_operator_s_token_and_mlflow_runs_beside_it() -> None:
    spec = yaml.safe_load(KUBERAY.read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    head = cluster["headGroupSpec"]
    # The submitter is a pod of its own: it comes through the head's service, with the token that the operator made.
    assert "dashboard-host" not in head["rayStartParams"]
    assert cluster["authOptions"] == {"mode": "token"}
    ray, server = head["template"]["spec"]["containers"]
    assert ray["name"] == "ray-head", "the operator takes the first container for Ray's"
    containers = [ray, server, *cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]]
    variables = [{each["name"]: each["value"] for each in container["env"]} for container in containers]
    assert not any(name.startswith("RAY_AUTH") for each in variables for name in each)
    assert {each["LESION_WORKSPACE"] for each in variables} == {"/mnt/lesions"}
    args = build_parser().parse_args(server["command"][1:])
    assert variables[0]["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{args.port}"
    search = build_parser().parse_args(shlex.split(spec["entrypoint"])[1:])
    assert (search.address, search.gpus_per_trial) == ("auto", 1)


def test_the_project_s_file_is_read() -> None:
    cluster = read_cluster(OURS)
    assert cluster.nodes == ("192.0.2.10", "192.0.2.11", "192.0.2.12")
    assert (cluster.user, cluster.tracking_port, cluster.local) == ("lab", 5000, True)
    assert cluster.settings["LESION_WORKSPACE"] == "/mnt/lesions"
    assert cluster.settings["PATH"] == "$ENVIRONMENT/bin:$PATH"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("  head_ip: 192.0.2.10", "", "provider.head_ip is missing"),
        ("[192.0.2.11, 192.0.2.12]", "192.0.2.11", "provider.worker_ips is '192.0.2.11', must be a list"),
        ("  ssh_user: lab", "", "auth.ssh_user is missing"),
        ("cluster_name: lesion-search", "", "cluster_name is missing"),
        ("metadata:", "metadatum:", "metadata.settings is missing; copy that block"),
        ('LESION_WORKSPACE="/mnt/lesions"', 'LESION_WORKSPACE=""', "metadata.settings gives no LESION_WORKSPACE"),
        ("provider:", "provider: local #", "cluster.yaml: not YAML"),
    ],
)
def test_mistakes_in_the_file_are_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = OURS.read_text()
    assert before in text
    path = tmp_path / "cluster.yaml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(ClusterError, match=None) as raised:
        read_cluster(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("page", ["README.md", "existing.md"])
def test_commands_of_the_pages_parse_and_links_lead_somewhere(page: str) -> None:
    folder = ROOT / "docs" / "clusters"
    text = (folder / page).read_text()
    lines = [line for line in text.splitlines() if line.startswith("lesion-search ")]
    parser = build_parser()
    for line in lines:
        words = shlex.split(line.partition(" &")[0], comments=True)
        assert parser.parse_args(words[1:]).run
    assert len(lines) >= 2
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (folder / link).exists(), link


def test_slurm_s_steps_get_the_cores_of_the_job(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "clusters" / "existing.md").read_text()
    (script,) = re.findall(r"```\n(#!/bin/bash\n.*?)```", text, re.DOTALL)
    script = "\n".join(line for line in script.splitlines() if "/activate" not in line)
    says = f'echo "$SRUN_CPUS_PER_TASK $*" >> {tmp_path}/steps'
    for name, body in {"srun": says, "scontrol": "echo one", "ray": "", "lesion-search": "", "sleep": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "4", "SLURM_CPUS_PER_TASK": "32", "SLURM_JOB_NODELIST": "n[1-4]"}
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), **job}
    subprocess.run(["bash", "-c", f"{script}\nwait"], env=variables, check=True, timeout=30)
    steps = (tmp_path / "steps").read_text().splitlines()
    assert [step.split()[0] for step in steps] == ["32", "32"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no such cluster file; name yours with --cluster"):
        read_cluster(tmp_path / "none.yaml")
