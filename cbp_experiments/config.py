"""From the composed configuration to a job: everything is checked here, before anything is trained or written."""

import difflib
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cbp_experiments.engines import EngineOptions
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner
from cbp_experiments.measurements import Measurements
from cbp_experiments.networks import MLP

MAX_SEED = 2**32  # a seed is one 32-bit word of a generator's key
WHAT_IS_EXPECTED = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false", "String": "a text"}
# Keys that do not change a run's numbers, or are not the same for all runs of a job.
NOT_IDENTITY = ("seeds", "results_dir", "force", "experiment")


@dataclass(frozen=True)
class Job:
    """One call of the command line, or one job of a multirun: the same settings for every seed."""

    experiment: str
    seeds: list[int]
    scale: str
    results_dir: Path
    force: bool
    data: Any  # a stream's configuration: its `load()` gives the stream
    network: MLP
    learner: Learner
    engine: EngineOptions
    metrics: Measurements
    plain: dict[str, Any]  # the composed configuration

    def run_config(self, seed: int, engine: str) -> dict[str, Any]:
        """What config.yaml records of one run."""
        return {key: value for key, value in self.plain.items() if key not in NOT_IDENTITY} | {
            "experiment": self.experiment,
            "engine": {"name": engine, "dtype": self.engine.dtype},
            "seed": seed,
        }

    def identity(self, engine: str) -> dict[str, Any]:
        """The settings that name a run's folder, the seed apart: no two of them share one."""
        config = {key: value for key, value in self.run_config(0, engine).items() if key not in (*NOT_IDENTITY, "seed")}
        return config | {"data": {key: value for key, value in config["data"].items() if key != "root"}}


def build_job(config: DictConfig) -> Job:
    """Check and type the composed configuration. Raises ConfigError, one line, for the first thing that is wrong."""
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(plain, dict)
    experiment, results_dir = str(plain["experiment"]), str(plain["results_dir"])
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", experiment):
        raise ConfigError(
            f"experiment={experiment}: it names a folder below results_dir; use letters, digits, _ - . and /"
        )
    if not isinstance(plain["force"], bool):
        raise ConfigError(f"force must be true or false, got {plain['force']!r}")
    return Job(
        experiment=experiment,
        seeds=parse_seeds(plain["seeds"]),
        scale=str(plain["scale"]),
        results_dir=Path(results_dir),
        force=plain["force"],
        data=build("data", plain["data"]),
        network=build("network", plain["network"]),
        learner=build("learner", plain["learner"]),
        engine=build("engine", plain["engine"]),
        metrics=build("metrics", plain["metrics"]),
        plain=plain,  # type: ignore[arg-type]
    )


def parse_seeds(value: object) -> list[int]:
    """`seeds=5` is the five seeds 0 to 4, `seeds=[3,7]` those two."""
    how = "give a count (seeds=5) or a list of different seeds (seeds=[3,7])"
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_SEED:
            raise ConfigError(f"seeds must be at least 1, got {value}; {how}")
        return list(range(value))
    if not isinstance(value, list) or not value or any(isinstance(s, bool) or not isinstance(s, int) for s in value):
        raise ConfigError(f"seeds must be a whole number or a list of them, got {value!r}; {how}")
    if len(set(value)) < len(value) or not all(0 <= seed < MAX_SEED for seed in value):
        raise ConfigError(f"seeds must be different and between 0 and 2^32 - 1, got {value}; {how}")
    return value


def build(section: str, values: Any) -> Any:
    """The dataclass that `_target_` names, from the values of a section, with types and keys checked."""
    if not isinstance(values, dict) or "_target_" not in values:
        raise ConfigError(f"{section} must be a group of keys with a _target_, got {values!r}")
    try:
        cls = get_class(values["_target_"])
    except Exception as error:
        raise ConfigError(f"{section}._target_: no class {values['_target_']!r} can be imported") from error
    if not is_dataclass(cls):
        raise ConfigError(f"{section}._target_: {values['_target_']} must be a dataclass")
    given = {key: value for key, value in values.items() if key != "_target_"}
    names = [field.name for field in fields(cls)]
    for key in given:
        if key not in names:
            raise ConfigError(f"unknown key {section}.{key}{_did_you_mean(str(key), names)}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), given))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, section)) from error


def explain(error: Exception, section: str = "") -> str:
    """One line for an error of Hydra or OmegaConf: what is wrong, and how to mend it."""
    text = str(error)
    key = ".".join(filter(None, [section, str(getattr(error, "full_key", None) or "")]))
    if isinstance(error, MissingMandatoryValue):
        return f"{key or text} has no value; set it on the command line ({key}=...)"
    if converted := re.search(r"Value (.*) of type '.*' could not be converted to (\w+)", text):
        return f"{key} must be {WHAT_IS_EXPECTED.get(converted[2], converted[2])}, got {converted[1]}"
    if override := re.search(r"Could not override '(.*?)'", text):
        return f"unknown key {override[1]}{_key_hint(override[1])}; --cfg job lists all keys"
    if group := re.search(r"Could not find '(.*?)'", text):
        options = re.search(r"Available options in '.*?':\s*(.*)", text, re.DOTALL)
        listed = ", ".join(options[1].split()) if options else "none"
        name, _, option = group[1].rpartition("/")
        return f"unknown {name or 'config'} {option!r}; there are: {listed}"
    lines = [line.strip() for line in text.splitlines() if line.strip() and "full_key" not in line]
    return " ".join([f"{key}:" if key and key not in text else "", *lines[:2]]).strip()


def _key_hint(key: str) -> str:
    section, _, last = key.rpartition(".")
    known = {"learner": Learner, "network": MLP, "engine": EngineOptions, "metrics": Measurements}.get(section)
    return _did_you_mean(last, [field.name for field in fields(known)], f"{section}.") if known else ""


def _did_you_mean(key: str, names: list[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; there are: {', '.join(names)}"


USER_ERRORS = (ConfigError, HydraException, OmegaConfBaseException)
