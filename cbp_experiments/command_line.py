"""From the command line to the configuration of each job, by Hydra; its errors in one line each."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
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
DERIVED = ("sizes", "tuned")  # groups whose options follow from data, scale and learner
LAUNCHER = re.compile(r"[+~]*hydra[/.]launcher\b")
COMPOSING_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)


def _at_scale(values: dict[str, Any], *, _root_: DictConfig) -> Any:
    """For `${at_scale:{smoke:1, laptop:2, paper:3}}` in a configuration: the value that belongs to the scale."""
    if _root_.scale not in values:
        raise ValueError(f"no value for scale={_root_.scale}; there are: {', '.join(values)}")
    return values[_root_.scale]


def _tasks_of(examples: int, *, _parent_: DictConfig) -> int:
    """For `tasks: ${tasks_of:48_000_000}`: so many tasks that they have these examples in all."""
    return max(1, examples // _parent_.task_length)


OmegaConf.register_new_resolver("at_scale", _at_scale, replace=True)
OmegaConf.register_new_resolver("tasks_of", _tasks_of, replace=True)


def compose() -> list[tuple[str, DictConfig]]:
    """The configuration of each job that the command line asks for, after its overrides as one text.

    Hydra only composes: the jobs run after it, so that all of a multirun can be checked before any is trained. The
    list is empty where Hydra has printed what was asked for (--cfg, --info). Raises ConfigError.
    """
    jobs: list[tuple[str, DictConfig]] = []

    def collect(config: DictConfig) -> None:
        overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
        jobs.append((" ".join(overrides), config))

    arguments = [argument for argument in sys.argv[1:] if not LAUNCHER.match(argument)]
    if "--cfg job" in " ".join(arguments) and "--resolve" not in arguments:
        arguments.insert(0, "--resolve")  # values, not where they come from
    if {"--help", "-h"} & set(arguments):
        _print_help(arguments)
    else:
        _hydra(collect, arguments)
    if any(re.search(rf"(^|\s)[+~]*({'|'.join(DERIVED)})\b", overrides) for overrides, _ in jobs):
        raise ConfigError("sizes and tuned follow from data, scale and learner; set a value itself: data.tasks=100")
    return jobs


def distinctions(overrides: Sequence[str]) -> list[list[str]]:
    """What tells the jobs apart: their overrides without those that all of them have."""
    split = [text.split(" ") for text in overrides]
    return [[text for text in texts if not all(text in other for other in split)] for texts in split]


def _print_help(arguments: list[str]) -> None:
    """Hydra's, without the groups that are not for choosing from. Hydra then exits."""
    text, derived = StringIO(), tuple(f"{group}:" for group in DERIVED)
    try:
        with redirect_stdout(text):
            _hydra(lambda config: None, arguments)
    finally:
        print("".join(line for line in text.getvalue().splitlines(True) if not line.startswith(derived)), end="")


def names_launcher() -> bool:
    """Whether the command line chooses a launcher, such as hydra/launcher=joblib."""
    return any(map(LAUNCHER.match, sys.argv[1:]))


def launch(train: Callable[[DictConfig], None]) -> None:
    """Let the launcher of the command line call `train` for each job, in processes or on machines of its choice."""
    _hydra(train, sys.argv[1:])


def _hydra(task: Callable[[DictConfig], None], arguments: list[str]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as exceptions; Hydra would print and exit with 1
    logging.getLogger("hydra").setLevel(logging.CRITICAL)  # nor is an error printed before it is raised
    with TemporaryDirectory(prefix="cbp-") as scratch:
        os.environ["CBP_SCRATCH"] = scratch  # the processes of a launcher inherit it
        for part in parts(arguments):
            try:
                with _arguments(part):
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
            except COMPOSING_ERRORS as error:
                raise ConfigError(explain(error)) from error


@contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv."""
    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


def parts(arguments: list[str]) -> list[list[str]]:
    """An experiment that is a folder of experiments, here or in the user's --config-dir, is all of them."""
    own = re.findall(r"(?:^|\n)(?:--config-dir|-cd)[=\n](.*)", "\n".join(arguments))
    for i, argument in enumerate(arguments):
        name = argument.removeprefix("experiment=")
        folders = [Path(conf, "experiment", name) for conf in (*own, CONF)]
        folder = next((path for path in folders if path.is_dir()), None)
        if re.fullmatch(r"experiment=\w+(/\w+)*", argument) and folder:
            files = sorted(path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
            return [[*arguments[:i], f"experiment={name}/{file.as_posix()}", *arguments[i + 1 :]] for file in files]
    return [arguments]


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
        nested = [path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml")]
        options = sorted({*nested, *(listed[1].split() if listed else [])})
        return f"unknown {group or 'config'} {name!r}; there are: {', '.join(options) or 'none'}"
    if several := re.search(r"Ambiguous value for argument '(.*)'\n", text):
        return f"{several[1]}: several values, one job each, need -m (python -m cbp_experiments -m {several[1]} ...)"
    if "Config group override must be a string" in text:
        groups = ", ".join(
            sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
        )
        return f"{groups} take the name of one of their options, such as learner=bp"
    if gap := re.search(r"Error resolving interpolation '(.*)', possible interpolation keys: (.*)", text):
        missing = sorted(set(re.findall(r"\$\{(\w+)\}", gap[1])) - set(gap[2].split(", ")))
        return f"{missing[0]} is missing from the configuration; conf/config.yaml has it"
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
