"""Ray's cluster file as this project reads it: which machines, who logs in and how, and what each is told.

Ray leaves ``metadata`` to its user; ``metadata.settings`` is the shell command that writes what every machine is told
(``NAME="value"``, a line each) to ``~/.lesion-cluster``. One text serves three readers: Ray runs it on each machine,
the commands there read the file it makes, and `read_cluster` reads the values before any machine is set up.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search.errors import ClusterError

SETTINGS = ("ENVIRONMENT", "LESION_WORKSPACE", "MLFLOW_TRACKING_URI", "RAY_AUTH_MODE", "PATH")
"""What `metadata.settings` must give."""
EXTRAS = ("aws", "gcp")
"""Providers for which lesion-search has an extra that brings what Ray needs."""
GCS_PORT, DASHBOARD_PORT = 6379, 8265
NODE_PORTS = (6380, 6381, 6383)
"""What nodes reach each other on: node manager, object manager, dashboard agent."""
WORKER_PORTS = (10002, 19999)
"""First and last of those that workers listen on, as the cluster files give them to Ray."""


@dataclass(frozen=True)
class Cluster:
    """What a cluster file says; `head` and `workers` are addresses, `settings` unexpanded shell words.

    `inside` is the head's address among the machines, where it has another one from here.
    """

    path: Path
    name: str
    head: str
    workers: tuple[str, ...]
    user: str
    key: str | None = None
    proxy: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    local: bool = True
    inside: str | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """All addresses, the head's first."""
        return (self.head, *self.workers)

    @property
    def tracking_port(self) -> int:
        """Port of MLflow on the head's loopback."""
        return port_of(self.settings["MLFLOW_TRACKING_URI"])


def read_cluster(path: Path | str) -> Cluster:
    """The cluster of the file at `path`.

    Provider `local` lists its machines; for a cloud's, the machines that run now are asked for. Raises ClusterError
    with the file and the field where something is missing.
    """
    path = Path(path)
    config = _mapping(path)
    if _section(path, config, "provider").get("type") != "local":
        config = _asked_for(path, config)
    provider, auth = (_section(path, config, name) for name in ("provider", "auth"))
    local = provider.get("type") == "local"
    head, workers = _addresses_written(path, provider) if local else _addresses_asked(path)
    key = auth.get("ssh_private_key")
    return Cluster(
        path=path,
        name=str(_field(path, config, "cluster_name")),
        head=head,
        workers=workers,
        user=str(_field(path, auth, "ssh_user", "auth.")),
        key=None if key is None else str(Path(key).expanduser()),
        proxy=auth.get("ssh_proxy_command"),
        settings=_settings(path, config),
        local=local,
        inside=provider.get("head_ip"),
    )


def port_of(url: str) -> int:
    """The port of MLflow's address; ClusterError where it names none.

    >>> port_of("http://127.0.0.1:5001/")
    5001
    """
    try:
        port = urlsplit(url).port
    except ValueError:
        port = None
    if port is None:
        raise ClusterError(f"MLFLOW_TRACKING_URI is {url!r}, must end with a port, as http://127.0.0.1:5000 does")
    return port


def settings_of(command: str) -> dict[str, str]:
    r"""The values in the shell command that writes them.

    >>> settings_of('''printf 'export %s\\n' 'A="$HOME/x y"' 'B=""' > ~/.lesion-cluster''')
    {'A': '$HOME/x y', 'B': ''}
    """
    found = {}
    for word in shlex.split(command):
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            found[name] = value.removeprefix('"').removesuffix('"')
    return found


def _mapping(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - heavy imports wait until they are needed
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        # YAML 1.1, as Ray reads it.
        reader = YAML(typ="safe", pure=True)
        reader.version = (1, 1)
        config = reader.load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ClusterError(
            f"{path}: no such cluster file; name yours with --cluster, or copy cluster.yaml from the project"
        ) from None
    except YAMLError as error:
        raise ClusterError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise ClusterError(f"{path}: not a cluster file: cluster_name, provider, auth, … are missing")
    return config


def _section(path: Path, config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = _field(path, config, name)
    if not isinstance(section, dict):
        raise ClusterError(f"{path}: {name} is {section!r}, must hold fields of its own")
    return section


def _field(path: Path, config: Mapping[str, Any], name: str, where: str = "") -> Any:
    value = config.get(name)
    if value in (None, ""):
        raise ClusterError(f"{path}: {where}{name} is missing")
    return value


def _addresses_written(path: Path, provider: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    workers = provider.get("worker_ips") or ()
    if not isinstance(workers, list | tuple):
        raise ClusterError(f"{path}: provider.worker_ips is {workers!r}, must be a list: [address, address]")
    head = str(provider.get("external_head_ip") or _field(path, provider, "head_ip", "provider."))
    return head, tuple(str(worker) for worker in workers)


def _asked_for(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """A cloud's file with what Ray fills in, such as the key that it has made."""
    from ray.autoscaler import sdk  # noqa: PLC0415

    try:
        return dict(sdk.bootstrap_config(config))
    except ImportError as error:
        raise ClusterError(f"{path}: {_lacking(str(config['provider'].get('type')), error)}") from error
    except Exception as error:  # whatever the cloud's own library raises
        raise ClusterError(f"{path}: Ray cannot complete it: {error}; are you logged in to the cloud?") from error


def _lacking(provider: str, error: ImportError) -> str:
    missing = getattr(error.__cause__ or error, "name", None) or error
    fix = "install it"
    if provider in EXTRAS:
        fix = f"'make install', or pip install -c constraints.txt -e '.[{provider}]'"
    return f"Ray asks provider {provider!r} for machines with {missing}, and {missing} is not installed: {fix}"


def _addresses_asked(path: Path) -> tuple[str, tuple[str, ...]]:
    from ray.autoscaler import sdk  # noqa: PLC0415

    try:
        return str(sdk.get_head_node_ip(str(path))), tuple(map(str, sdk.get_worker_node_ips(str(path))))
    except Exception as error:  # whatever the cloud's own library raises
        raise ClusterError(
            f"{path}: the cloud does not say which machines run ({error}); is the cluster up?"
        ) from error


def _settings(path: Path, config: Mapping[str, Any]) -> dict[str, str]:
    command = (config.get("metadata") or {}).get("settings")
    if not isinstance(command, str):
        raise ClusterError(f"{path}: metadata.settings is missing; copy that block from the project's cluster.yaml")
    found = settings_of(command)
    missing = [name for name in SETTINGS if not found.get(name)]
    if missing:
        raise ClusterError(f"{path}: metadata.settings gives no {', '.join(missing)}")
    return found
