"""A trained model as a folder: `config.json` and one `weights-<n>.safetensors` for each member.

Nothing in it can run code: the configuration is JSON whose every value is checked against a rule, weights are
plain tensors, and file names are a pattern, not a path. Normalisation is among the tensors of a model, so it
travels with the weights it belongs to.

Format 1 had no `rules` (temperature, decision weights, operating point); such folders are read with the plain ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from lesion.data.decode import GEOMETRIES, Geometry
from lesion.errors import LesionError, WeightsError
from lesion.registry import Value
from lesion.rules import OperatingPoint, Rules

FORMAT, FORMATS = 2, (1, 2)
CONFIG = "config.json"
MAX_CONFIG = 4_000_000
"""Bytes of the largest configuration that is read."""
VIEWS = (1, 2, 4, 8)

Rule = tuple[Callable[[Any], bool], str]


class ModelFolderError(LesionError):
    """A model folder is missing, or its configuration is not what it must be."""


@dataclass(frozen=True)
class MemberConfig:
    """One network: its weights file with SHA-256, its settings, and the square that photos are decoded to."""

    weights: str
    sha256: str
    size: int
    geometry: Geometry
    settings: Mapping[str, Value]


@dataclass(frozen=True)
class Config:
    """Everything about a model but its tensors; see `lesion.predictor.Predictor` for the meaning."""

    classes: tuple[str, ...]
    views: int
    class_weights: tuple[float, ...] | None
    data: str
    provenance: Mapping[str, Any]
    members: tuple[MemberConfig, ...]
    rules: Rules = field(default_factory=Rules)


def read_config(folder: Path) -> Config:
    """Read and check `config.json`; ModelFolderError lists every mistake in it."""
    raw = _json(folder / CONFIG)
    if isinstance(raw, dict) and _is_count(raw.get("format"), FORMATS[:1]) and "rules" not in raw:
        raw |= {"rules": asdict(Rules())}
    problems = _problems(raw, RULES, "")
    if not problems:
        problems = [*_member_problems(raw), *_rules_problems(raw)]
    if problems:
        raise ModelFolderError("\n".join(f"{folder / CONFIG}: {problem}" for problem in problems))
    return Config(
        classes=tuple(raw["classes"]),
        views=raw["views"],
        class_weights=None if raw["class_weights"] is None else tuple(map(float, raw["class_weights"])),
        data=raw["data"],
        provenance=raw["provenance"],
        members=tuple(MemberConfig(**member) for member in raw["members"]),
        rules=_rules(raw["rules"]),
    )


def write_config(folder: Path, config: Config) -> None:
    """Write `config.json`; ModelFolderError when `read_config` would not take it back."""
    content = {"format": FORMAT, **asdict(config)}
    try:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as problem:
        raise ModelFolderError(f"provenance and settings must be plain finite JSON values: {problem}") from problem
    (folder / CONFIG).write_text(text, encoding="utf-8")
    read_config(folder)


def write_weights(path: Path, model: nn.Module) -> str:
    """Write the tensors of a model and return the file's SHA-256."""
    # Contiguous copies: safetensors takes neither channels-last memory nor tensors that share it.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    content = safetensors.torch.save(tensors)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, model: nn.Module, *, sha256: str) -> None:
    """Load all tensors of `path` into `model`, whose names and shapes they must have exactly.

    Shapes are compared before a tensor is read. Raises WeightsError with the first tensors that are missing,
    unknown or of another shape, or when the file is damaged.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file {path}; the model folder is not complete, copy it again")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as problem:
        raise WeightsError(f"{path} is not a safetensors file or is damaged: {problem}") from problem
    _check_fit(shapes, {name: tuple(value.shape) for name, value in model.state_dict().items()}, path)
    if _sha256(path) != sha256:
        raise WeightsError(f"{path} is damaged or was exchanged: its SHA-256 is not the one in {CONFIG}")
    model.load_state_dict(safetensors.torch.load_file(path))


def _check_fit(given: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]], path: Path) -> None:
    missing, extra = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    other = [name for name in sorted(own.keys() & given.keys()) if own[name] != given[name]]
    facts = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
    facts += [f"{len(extra)} unknown (first: {extra[0]})"] if extra else []
    if other:
        shapes = f"{other[0]} is {given[other[0]]}, must be {own[other[0]]}"
        facts.append(f"{len(other)} of another shape (first: {shapes})")
    if facts:
        raise WeightsError(f"{path} does not fit the model in {CONFIG}: {'; '.join(facts)}; is it of another model?")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> Any:
    if not path.is_file():
        raise ModelFolderError(f"no {path}; a model folder holds {CONFIG} and weights-0.safetensors")
    if path.stat().st_size > MAX_CONFIG:
        raise ModelFolderError(f"{path} has {path.stat().st_size:,} bytes, at most {MAX_CONFIG:,} are read")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise ModelFolderError(f"{path} is not JSON: {problem}") from problem


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _problems(raw: Any, rules: Mapping[str, Rule], where: str) -> list[str]:
    if not isinstance(raw, dict):
        return [f"{where.rstrip('.') or 'the whole'} is {_shown(raw)}, must be an object"]
    if "format" in rules and raw.get("format") not in FORMATS:
        return [f"format is {_shown(raw.get('format'))}, this program reads {' and '.join(map(str, FORMATS))}"]
    found = [f"{where}{key} is not known; known: {', '.join(rules)}" for key in raw if key not in rules]
    found += [f"{where}{key} is missing" for key in rules if key not in raw]
    for key, (holds, text) in rules.items():
        if key in raw and not holds(raw[key]):
            found.append(f"{where}{key} is {_shown(raw[key])}, must be {text}")
    return found


def _member_problems(raw: Mapping[str, Any]) -> list[str]:
    found = []
    for k, member in enumerate(raw["members"]):
        found += _problems(member, MEMBER_RULES, f"members[{k}].")
    return found + _uncounted(raw["class_weights"], "class_weights", raw["classes"])


def _rules_problems(raw: Mapping[str, Any]) -> list[str]:
    found = _problems(raw["rules"], READING_RULES, "rules.")
    if found:
        return found
    point = raw["rules"]["operating_point"]
    if point is not None:
        found = _problems(point, POINT_RULES, "rules.operating_point.")
        if not found and not set(point["classes"]) <= set(raw["classes"]):
            found = [f"rules.operating_point.classes is {_shown(point['classes'])}, must be among the classes"]
    return found + _uncounted(raw["rules"]["decision_weights"], "rules.decision_weights", raw["classes"])


def _uncounted(weights: Any, where: str, classes: list[str]) -> list[str]:
    if weights is None or len(weights) == len(classes):
        return []
    return [f"{where} has {len(weights)} numbers, must be {len(classes)}: one a class"]


def _rules(raw: Mapping[str, Any]) -> Rules:
    weights, point = raw["decision_weights"], raw["operating_point"]
    return Rules(
        float(raw["temperature"]),
        None if weights is None else tuple(map(float, weights)),
        None if point is None else OperatingPoint(**{**point, "classes": tuple(point["classes"])}),
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _is_text(value: Any, longest: int = 200) -> bool:
    # printable: no control sequences for a terminal, no lone surrogates that cannot be written
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _is_classes(value: Any) -> bool:
    names = isinstance(value, list) and all(_is_text(name, 100) and name.strip() for name in value)
    return names and 2 <= len(value) <= 1000 and len(set(value)) == len(value)


def _is_count(value: Any, known: Iterable[int]) -> bool:
    return type(value) is int and value in known  # a bool is an int, but no size


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 1e-6 <= value <= 1e6


def _are_weights(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_weight, value)))


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(
        v is None or type(v) in (bool, float, str) or (type(v) is int and abs(v) < 2**63) for v in value.values()
    )


WEIGHTS, SHARE = "null or a list of numbers from 1e-6 to 1e6", "a number from 0 to 1"
RULES: Mapping[str, Rule] = {
    "format": (lambda v: _is_count(v, FORMATS), " or ".join(map(str, FORMATS))),
    "classes": (_is_classes, "a list of 2 to 1000 different names"),
    "views": (lambda v: _is_count(v, VIEWS), "1, 2, 4 or 8"),
    "class_weights": (_are_weights, WEIGHTS),
    "data": (_is_text, "the name of a data set"),
    "provenance": (lambda v: isinstance(v, dict), "an object"),
    "members": (lambda v: isinstance(v, list) and 1 <= len(v) <= 64, "a list of 1 to 64 members"),
    "rules": (lambda v: isinstance(v, dict), "an object"),
}

READING_RULES: Mapping[str, Rule] = {
    "temperature": (lambda v: type(v) in (int, float) and 0.01 <= v <= 100, "a number from 0.01 to 100"),
    "decision_weights": (_are_weights, WEIGHTS),
    "operating_point": (lambda v: v is None or isinstance(v, dict), "null or an object"),
}

POINT_RULES: Mapping[str, Rule] = {
    "classes": (
        lambda v: isinstance(v, list) and bool(v) and all(map(_is_text, v)) and len(set(v)) == len(v),
        "a list of different class names",
    ),
    **dict.fromkeys(("threshold", "asked", "sensitivity", "specificity"), (_is_share, SHARE)),
    **dict.fromkeys(("images", "positives"), (lambda v: _is_count(v, range(1, 2**31)), "a whole number from 1")),
}

MEMBER_RULES: Mapping[str, Rule] = {
    "weights": (
        lambda v: isinstance(v, str) and re.fullmatch(r"weights-\d{1,3}\.safetensors", v, re.ASCII) is not None,
        "weights-<number>.safetensors, a file of this folder",
    ),
    "sha256": (
        lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) is not None,
        "64 hexadecimal digits",
    ),
    "size": (lambda v: _is_count(v, range(16, 2049)), "a whole number of pixels from 16 to 2048"),
    "geometry": (lambda v: isinstance(v, str) and v in GEOMETRIES, " | ".join(GEOMETRIES)),
    "settings": (_is_settings, "an object of settings, each a number, a text, true, false or null"),
}
