"""Names runs after what their settings mean, not after how the code happens to be written.

The name of a run hashes its identity: for each section of the configuration (data, network, learner, engine, metrics)
the kind of its class and the values that differ from their neutral ones.

- The neutral value of a key is the default of its field in the section's dataclass. So a key with a default can be
  added without renaming any run, and a default must never change: that would change the meaning of every name that
  leaves the key out. A key without a default is always part of the name.
- The kind of a class is its `kind: ClassVar[str]`, so that the class can be renamed and moved. A class without one has
  its class name as its kind.

run.json records the identity (`settings`), so that a reader can tell whether a folder is named after its run.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from hashlib import sha256
from typing import Any

from cbp_experiments.errors import ConfigError

TARGET = "_target_"  # the import path of a section's class; not part of a name
KIND = "_kind_"  # stands for the class in a name
RUN_NAME = re.compile(r"[\w.-]+_[0-9a-f]{8}_seed\d+")
Meaning = Callable[[str], tuple[str, dict[str, Any]]]  # from a _target_ to the kind and neutral values of its class


def kind_of(cls: type) -> str:
    """Return what stands for a class in names. Subclasses do not inherit it, since they do something else."""
    declared = vars(cls).get("kind")
    is_field = is_dataclass(cls) and "kind" in (field.name for field in fields(cls))
    return declared if isinstance(declared, str) and not is_field else cls.__name__


def neutral_values(cls: type) -> dict[str, Any]:
    """Return the values that names leave out, by key, for a dataclass; empty for any other class."""
    declared = fields(cls) if is_dataclass(cls) else ()
    made = {field.name: field.default_factory() for field in declared if field.default_factory is not MISSING}
    return made | {field.name: field.default for field in declared if field.default is not MISSING}


def with_kinds(values: Any, meaning: Meaning) -> Any:
    """Add the kind beside each `_target_` in plain nested values."""
    if isinstance(values, list):
        return [with_kinds(value, meaning) for value in values]
    if not isinstance(values, dict):
        return values
    inner = {key: with_kinds(value, meaning) for key, value in values.items() if key not in (TARGET, KIND)}
    target = values.get(TARGET)
    return {TARGET: target, KIND: meaning(target)[0], **inner} if isinstance(target, str) else inner


def identity_of(values: Any, meaning: Meaning) -> Any:
    """Replace each `_target_` in plain nested values with its kind, and leave out neutral values."""
    if isinstance(values, list):
        return [identity_of(value, meaning) for value in values]
    if not isinstance(values, dict):
        return values
    inner = {key: identity_of(value, meaning) for key, value in values.items() if key not in (TARGET, KIND)}
    if not isinstance(target := values.get(TARGET), str):
        return inner
    kind, neutral = meaning(target)
    # A key that the class no longer has is left out, too, if its value is null.
    named = {k: v for k, v in inner.items() if canonical(v) != canonical(neutral.get(k))}
    return {KIND: kind, **named}


def flatten(config: dict[str, Any], prefix: str = "", leave_out: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested groups by dotted key; a list becomes JSON text."""
    for key, value in config.items():
        if key in leave_out:
            continue
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.", leave_out)
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value


def canonical(value: Any) -> str:
    """Return a text that is equal for equal values: keys in any order, 3 and 3.0, null and an empty group."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(each) for key, each in value.items()} or None
        case list() | tuple():
            return [_plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
    return value


def digest(identity: Mapping[str, Any]) -> str:
    """Return 8 hex digits for an identity; they are equal for values that `canonical` treats as equal."""
    return sha256(canonical(dict(identity)).encode()).hexdigest()[:8]


def run_name(identity: Mapping[str, Any], seed: int) -> str:
    """Return the name of a run's folder, `<learner>_<digest>_seed<seed>`; `identity` holds learner.name."""
    learner = identity["learner"]["name"]
    if not re.fullmatch(r"[\w.-]+", learner):
        raise ConfigError(f"learner.name={learner}: it names a folder, so only letters, digits and _ . - may be in it")
    return f"{learner}_{digest(identity)}_seed{seed}"
