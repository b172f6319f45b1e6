"""One-line messages for wrong overrides, from the types of Hydra's errors, not from their texts."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from re import findall
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from cbp_experiments.errors import ConfigError, unknown_key

PACKAGE = Path(__file__).resolve().parents[1]
CONF = next((folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()), PACKAGE / "conf")
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
SEVERAL = "mechanism"  # the group that takes a list of options
DERIVED = ("sizes", "published")  # groups whose options follow from data, scale and learner
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it prints errors that it also raises
COMPOSING_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)


def initialized() -> hydra.initialize_config_dir:
    """Return a context in which `hydra.compose` composes our configuration."""
    return hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF), job_name="cbp_experiments")


@cache
def parse(override: str) -> Override:
    """Parse an override as Hydra does. Raises ConfigError."""
    with explained([]):
        return OverridesParser.create().parse_overrides([override])[0]


@contextmanager
def explained(overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's errors within this context into ConfigError. overrides: those that Hydra composes."""
    try:
        yield
    except COMPOSING_ERRORS as error:
        raise error if isinstance(error, ConfigError) else ConfigError(explain(error, overrides)) from error


def check(overrides: Sequence[str]) -> None:
    """Raise ConfigError for overrides that Hydra would refuse without saying why."""
    for override in map(parse, overrides):
        group, value = override.key_or_group, override.value()
        if group in DERIVED:
            raise ConfigError(
                "sizes and published follow from data, scale and learner; set a value itself: data.tasks=100"
            )
        if group not in GROUPS or override.is_sweep_override() or isinstance(value, dict):
            continue
        if override.is_delete() and group != "experiment":  # an experiment is optional
            raise ConfigError(f"{group} is missing from the configuration without an option; conf/config.yaml has one")
        several = group == SEVERAL and isinstance(value, list) and all(isinstance(name, str) for name in value)
        if not isinstance(value, str) and not several and not override.is_delete():
            kinds = "the name of one of its options" + (" or a list of them" if group == SEVERAL else "")
            raise ConfigError(f"{group} takes {kinds}, as in learner=bp; got {value}")
        unknown = [name for name in findall(r"\$\{([^}]*)\}?", str(value)) if name not in GROUPS]
        if unknown:
            raise ConfigError(
                f"{override.input_line}: ${{{unknown[0]}}} cannot be part of the name of an option; the chosen options "
                f"can: {', '.join(f'${{{name}}}' for name in GROUPS if name not in (group, *DERIVED))}"
            )


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """Explain an error of Hydra's in one line: what is wrong, and how to fix it."""
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}; write key=value, key=[a,b], or \"key='any text'\" with both quotes"
    missing = str(error.missing_cfg_file) if isinstance(error, MissingConfigException) else ""
    ours = missing.startswith(tuple(f"{group}/" for group in GROUPS))
    if isinstance(error, MissingConfigException) and (ours or error.options is not None):
        return _unknown_option(missing, error.options or [])
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        key, problem = str(cause.full_key), str(cause).splitlines()[0]
        if isinstance(cause, AttributeError | KeyError):
            named = [o.key_or_group for o in map(parse, overrides) if o.key_or_group not in GROUPS]
            parents = [name for name in named if f"{key}.".startswith(f"{name}.")]
            return _unknown_key(parents[0] if parents else key, key)
        return (
            f"{key} has no value; {problem}" if isinstance(cause, InterpolationResolutionError) else f"{key}: {problem}"
        )
    deleted = [override.key_or_group for override in map(parse, overrides) if override.is_delete()]
    if unknown := [key for key in deleted if key not in known_keys()]:
        return _unknown_key(unknown[0], unknown[0])
    lines = [line.strip() for line in (str(error) or type(error).__name__).splitlines()]
    searched = lines.index("Config search path:") if "Config search path:" in lines else None
    return " ".join(filter(None, lines[:searched]))


def _unknown_option(path: str, listed: Sequence[str]) -> str:
    """Explain an unknown option. path: group/option; listed: the options that Hydra found, without subfolders."""
    group = next((name for name in GROUPS if path.startswith(f"{name}/")), path.rpartition("/")[0])
    nested = [path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml")]
    options = ", ".join(sorted({*nested, *listed})) or "none"
    own = " (give your own experiment a name unlike these, of letters, digits, _, - and /)" * (group == "experiment")
    return f"unknown {group or 'config'} {path.removeprefix(f'{group}/')!r}; there are: {options}{own}"


def known_keys() -> list[str]:
    """List the dotted keys of the configuration without overrides."""
    with nullcontext() if GlobalHydra.instance().is_initialized() else initialized():
        return list(_flatten(OmegaConf.to_container(hydra.compose("config"))))


def _flatten(config: Any, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _unknown_key(given: str, key: str) -> str:
    """Explain an unknown key. given: the key on the command line; key: the missing key, the same or one below it."""
    if key.startswith("hydra."):
        return f"unknown key {key}; --cfg hydra lists Hydra's keys, with those of the chosen launcher"
    known = known_keys()
    if given in known:  # learner.mechanisms={a: ...}: Hydra changes keys but adds none
        return f"{given} has no key {key.removeprefix(given + '.')!r} to change; ++{given}=... adds one"
    section, dot, last = key.rpartition(".")
    if elsewhere := [name for name in known if name.endswith(f".{last}")]:
        return f"unknown key {key}; did you mean {elsewhere[0]}?"
    names = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
    siblings = [name for name in names if name != "_target_"]
    if not siblings and (top := [name for name in known if name.startswith(f"{key.partition('.')[0]}.")]):
        return str(unknown_key(key, top))
    return str(unknown_key(last, siblings, section + dot) if siblings else unknown_key(key, known))
