"""From the command line to the configuration of each job, by Hydra; its errors in one line each."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cbp_experiments.errors import ConfigError, unknown_key

PACKAGE = Path(__file__).resolve().parent
CONF = next((folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()), PACKAGE / "conf")
COMPOSING_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)


def compose() -> list[tuple[str, DictConfig]]:
    """The configuration of each job that the command line asks for, after its overrides as one text.

    Hydra only composes: the jobs run after it, so that all of a multirun can be checked before any is trained. The
    list is empty where Hydra has printed what was asked for (--cfg, --info). Raises ConfigError.
    """
    jobs: list[tuple[str, DictConfig]] = []

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def collect(config: DictConfig) -> None:
        overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
        jobs.append((" ".join(overrides), config))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as exceptions; Hydra would print and exit with 1
    logging.getLogger("hydra").setLevel(logging.CRITICAL)  # nor is an error printed before it is raised
    with ExitStack() as stack:
        OmegaConf.register_new_resolver(
            "scratch", lambda: stack.enter_context(TemporaryDirectory(prefix="cbp-")), replace=True
        )
        try:
            collect()
        except COMPOSING_ERRORS as error:
            raise ConfigError(explain(error)) from error
    return jobs


def explain(error: Exception) -> str:
    """One line for an error of Hydra's: what is wrong, and how to mend it."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}; write key=value, key=[a,b], or \"key='any text'\" with both quotes"
    if unknown := re.search(r"Could not (?:override|delete from config\.) '(.*?)'", text):
        return _unknown_key(unknown[1], str(getattr(error.__cause__, "full_key", None) or unknown[1]))
    if option := re.search(r"Could not find '(.*?)'", text):
        group, _, name = option[1].partition("/")
        listed = re.search(r"Available options in '.*?':((?:\n\t.*)*)", text)
        return f"unknown {group or 'config'} {name!r}; there are: {', '.join(listed[1].split()) if listed else 'none'}"
    if several := re.search(r"Ambiguous value for argument '(.*)'\n", text):
        return f"{several[1]}: several values, one job each, need -m (python -m cbp_experiments -m {several[1]} ...)"
    if "Config group override must be a string" in text:
        groups = ", ".join(
            sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
        )
        return f"{groups} take the name of one of their options, such as learner=bp"
    end = r"\s*(?:Config search path:|See https:|, set env var HYDRA_FULL_ERROR)"
    lines = [line.strip() for line in re.split(end, text)[0].splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


def known_keys() -> list[str]:
    """The keys of the configuration as it is without overrides, with dots."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return list(_flatten(OmegaConf.to_container(hydra.compose("config"))))


def _flatten(config: Any, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _unknown_key(given: str, key: str) -> str:
    """`given` is what the command line names, `key` what is missing: the same, or a key below it."""
    known = known_keys()
    if given in known:  # learner.mechanisms={a: ...}: Hydra changes keys, but adds none
        return f"{given} has no key {key.removeprefix(given + '.')!r} to change; ++{given}=... adds one"
    section, dot, last = key.rpartition(".")
    if elsewhere := [name for name in known if name.endswith(f".{last}")]:
        return f"unknown key {key}; did you mean {elsewhere[0]}?"
    names = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
    siblings = [name for name in names if name != "_target_"]
    return str(unknown_key(last, siblings, section + dot) if siblings else unknown_key(key, known))
