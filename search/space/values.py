"""Nodes → domains: the part of the language that says what one setting may be.

A scalar is fixed; ``{choice: […]}``, ``{float: [low, high]}`` and ``{int: [low, high]}`` are searched. Every
value and both ends of a range are checked against the setting's own type and bounds, taken from the component's
signature.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

from lesion.errors import SettingError, unknown
from lesion.registry import Setting, Value
from search.space.domains import Choice, Domain, Fixed, FloatRange, IntRange, on_grid, order, show
from search.space.yaml_tree import Mistakes, Node

FORMS = ("choice", "float", "int")
LARGEST = 2**53  # a database keeps parameters as doubles; beyond this, whole numbers are rounded
HOW = "write a value, {choice: […]}, {float: [low, high]} or {int: [low, high]}"


def read_domain(node: Node, setting: Setting, mistakes: Mistakes) -> Domain | None:
    """What `node` says `setting` may be, or None after noting the mistakes.

    `setting.name` is the dotted path, for the messages.
    """
    if node.is_scalar:
        value = _value(node, setting, mistakes)
        return value and Fixed(value[0])
    entries = node.mapping
    if entries is None:
        mistakes.add(node.place, f"{setting.name} is a list; to search over it write {{choice: […]}}")
        return None
    if not _check_keys(node, setting, mistakes):
        return None
    if "choice" in entries:
        return _choice(entries["choice"], setting, mistakes)
    return _range(node, "float" if "float" in entries else "int", setting, mistakes)


def _check_keys(node: Node, setting: Setting, mistakes: Mistakes) -> bool:
    entries = node.mapping or {}
    forms = [key for key in entries if key in FORMS]
    before = len(mistakes.found)
    for key in entries:
        if key not in (*FORMS, "log", "step"):
            known = unknown("way to search a setting", key, (*FORMS, "log", "step"))
            mistakes.add(node.key_place(key), known)
    if len(mistakes.found) > before:
        return False
    if len(forms) != 1:
        said = f"has {' and '.join(forms)} at once" if forms else "says neither choice, float nor int"
        mistakes.add(node.place, f"{setting.name} {said}; {HOW}")
        return False
    if forms == ["choice"] and len(entries) > 1:
        extra = next(key for key in entries if key != "choice")
        mistakes.add(node.key_place(extra), f"{extra} belongs to a range; a choice has none")
        return False
    return True


def _value(node: Node, setting: Setting, mistakes: Mistakes) -> tuple[Value] | None:
    """The checked scalar in a tuple (for it may be None or 0 itself), or None after noting a mistake."""
    value = node.scalar
    try:
        if setting.choices and isinstance(value, bool) not in map(_is_bool, setting.choices):
            # 1 == True in Python, so a truth value would pass for a number.
            raise SettingError(unknown(setting.name, show(value), map(str, setting.choices)))
        setting.check(value)
    except SettingError as error:
        mistakes.add(node.place, f"{error}{_null_hint(value, setting)}")
        return None
    return (_as_typed(value, setting),)


def _null_hint(value: Value, setting: Setting) -> str:
    if isinstance(value, str) and value.lower() == "none" and type(None) in setting.types:
        return " (nothing is spelled null)"
    if value is None:
        return " (a value is missing after the colon)"
    if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off") and bool in setting.types:
        return " (truth is spelled true or false)"
    return ""


def _is_bool(value: Value) -> bool:
    return isinstance(value, bool)


def _as_typed(value: Value, setting: Setting) -> Value:
    """`value`, made a float where the setting holds floats, so that 0 and 0.0 mean the same space."""
    if isinstance(value, int) and not isinstance(value, bool) and float in setting.types and int not in setting.types:
        return float(value)
    return value


def _choice(node: Node, setting: Setting, mistakes: Mistakes) -> Domain | None:
    if node.items is None:
        mistakes.add(node.place, f"the choice of {setting.name} must be a list: {{choice: [a, b]}}")
        return None
    if not node.items:
        mistakes.add(node.place, f"the choice of {setting.name} is empty")
        return None
    found: list[Value] = []
    sound = True
    for item in node.items:
        value = _value(item, setting, mistakes) if item.is_scalar else None
        if not item.is_scalar:
            mistakes.add(item.place, f"the choice of {setting.name} may hold single values only")
        elif value is not None and order(value[0]) in map(order, found):
            mistakes.add(item.place, f"the choice of {setting.name} has {show(value[0])} twice")
            value = None
        sound = sound and value is not None
        found += value or ()
    if not sound:
        return None
    return Choice(tuple(sorted(found, key=order))) if len(found) > 1 else Fixed(found[0])


def _range(node: Node, kind: str, setting: Setting, mistakes: Mistakes) -> Domain | None:
    entries = node.mapping or {}
    if not _takes(kind, setting, node, mistakes):
        return None
    bounds = _bounds(entries[kind], kind, setting, mistakes)
    log = _log(entries.get("log"), setting, mistakes)
    step = _step(entries.get("step"), kind, setting, mistakes)
    if bounds is None or log is None or step is None:
        return None
    low, high = bounds
    if log and low <= 0:
        mistakes.add(node.place, f"{setting.name} has a log scale from {low:g}; it must start above 0")
    elif log and "step" in entries:
        mistakes.add(entries["step"].place, f"{setting.name} has a step on a log scale; take one of them out")
    elif step and not on_grid(low, high, step):
        mistakes.add(entries["step"].place, f"{setting.name}: steps of {step:g} from {low:g} do not end at {high:g}")
    elif kind == "float":
        return FloatRange(float(low), float(high), log, float(step) if step else None)
    else:
        return IntRange(int(low), int(high), log, int(step) if step else 1)
    return None


def _takes(kind: str, setting: Setting, node: Node, mistakes: Mistakes) -> bool:
    wanted = float if kind == "float" else int
    if wanted in setting.types and not setting.choices:
        return True
    other = {"float": "int", "int": "float"}[kind]
    if setting.choices or not {int, float} & set(setting.types):
        one_of = f"one of {', '.join(map(str, setting.choices))}" if setting.choices else setting.type_name
        mistakes.add(node.place, f"{setting.name} is {one_of}; a range of numbers does not fit, write {{choice: […]}}")
    elif kind == "int":
        mistakes.add(node.place, f"{setting.name} is a {other}: write {{float: [low, high], step: 1}}")
    else:
        mistakes.add(node.place, f"{setting.name} is an {other}: write {{int: [low, high]}}")
    return False


def _bounds(node: Node, kind: str, setting: Setting, mistakes: Mistakes) -> tuple[float, float] | None:
    items = node.items
    if items is None or len(items) != 2:
        mistakes.add(node.place, f"the range of {setting.name} must be two numbers: {{{kind}: [low, high]}}")
        return None
    # A range is checked as numbers, whatever else the setting may be (null, for one).
    numeric = replace(setting, types=(int,) if kind == "int" else (float,))
    ends = [_number(item, numeric, mistakes) for item in items]
    if ends[0] is None or ends[1] is None:
        return None
    low, high = ends[0], ends[1]
    if low > high:
        mistakes.add(node.place, f"the range of {setting.name} is reversed: write [{high:g}, {low:g}]")
        return None
    if low == high:
        mistakes.add(node.place, f"the range of {setting.name} is one value; write {setting.name}: {low:g}")
        return None
    return low, high


def _number(node: Node, setting: Setting, mistakes: Mistakes) -> float | None:
    if not node.is_scalar:
        mistakes.add(node.place, f"an end of the range of {setting.name} must be a number")
        return None
    value = _value(node, setting, mistakes)
    if value is None:
        return None
    number = cast(float, value[0])
    if abs(number) > LARGEST:
        mistakes.add(node.place, f"{setting.name} is {number:g}; beyond 2^53 numbers are no longer exact")
        return None
    return number


def _log(node: Node | None, setting: Setting, mistakes: Mistakes) -> bool | None:
    if node is None:
        return False
    if not isinstance(node.value, bool):
        mistakes.add(node.place, f"log of {setting.name} must be true or false")
        return None
    return node.value


def _step(node: Node | None, kind: str, setting: Setting, mistakes: Mistakes) -> float | None:
    """The step, 0 for none, or None after noting a mistake."""
    if node is None:
        return 0
    value = node.value
    sound = isinstance(value, int) if kind == "int" else isinstance(value, int | float)
    if not sound or isinstance(value, bool) or not math.isfinite(cast(float, value)) or cast(float, value) <= 0:
        mistakes.add(
            node.place,
            f"the step of {setting.name} must be {'a whole' if kind == 'int' else 'a'} number above 0",
        )
        return None
    return cast(float, value)
