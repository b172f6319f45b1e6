"""Builds a job from the composed configuration; everything is checked here, before anything is trained or written."""

import re
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cbp_experiments.engines import EngineOptions
from cbp_experiments.errors import ConfigError, unknown_key
from cbp_experiments.learners import Learner, Part
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.networks import Architecture
from cbp_experiments.results.naming import identity_of, kind_of, neutral_values, with_kinds
from cbp_experiments.results.tuned import check_name, read_choice, tuning_folder

CHECKSUM_LENGTH = len("sha256:") + 8
MAX_SEED = 2**32  # a seed is one 32-bit word of a generator's key
SECTIONS = ("data", "network", "learner", "engine", "metrics")
GLOBAL_GROUPS = ("experiment", "grid", "published", "scale", "sizes", "tuning")  # their options set keys anywhere
CIRCUMSTANCES = {"data": ("root",), "engine": ("workers", "graph")}  # keys that change neither numbers nor names
EXPECTED = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    list: "a list, such as [a,b]",
    dict: "a group of keys",
}


@dataclass(frozen=True)
class Job:
    """One call of the command line, or one job of a multirun: the same settings for every seed.

    seeds: the seeds to train; tune: they are the seeds of a tuning.
    """

    experiment: str
    seeds: list[int]
    scale: str
    results_dir: Path
    force: bool
    tuned: str | None  # the tuning whose choice the learner takes; for a job of `tune`, the tuning it belongs to
    tune: bool
    tuning_seeds: list[int]
    checkpoint_seconds: float
    data: Any  # a stream's configuration: its `load()` gives the stream
    network: Architecture
    learner: Learner
    engine: EngineOptions
    metrics: Measurements
    sections: dict[str, dict[str, Any]]  # the values of the last five as plain data, complete and typed

    def settings(self, checksum: str, engine: str, device: str = "cpu") -> dict[str, Any]:
        """Return all settings that a run's numbers depend on, except the seed, by section.

        checksum: of the stream's images. Its first digits are a setting: other images from the same source, other runs.
        """
        known = {
            section: {key: value for key, value in values.items() if key not in CIRCUMSTANCES.get(section, ())}
            for section, values in self.sections.items()
        }
        known["data"] |= {"images": checksum[:CHECKSUM_LENGTH]}
        known["engine"] |= {"name": engine, "device": device}
        return with_kinds(known, meaning)

    def identity(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that differ from their neutral values; they name a run (results/naming.py)."""
        return identity_of(settings, meaning)

    def run_config(self, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what config.yaml records of one run: enough to run it again, without paths of this machine."""
        return {"experiment": self.experiment, "scale": self.scale, "seed": seed, **settings}


def meaning(target: str) -> tuple[str, dict[str, Any]]:
    """Return the kind and the neutral values, for names of runs, of the class that a `_target_` names.

    If it cannot be imported or is not a class, its name is the kind; building it raises the error.
    """
    try:
        found = get_object(target)
    except Exception:  # importing runs any code
        found = None
    return (kind_of(found), neutral_values(found)) if isinstance(found, type) else (target.rpartition(".")[2], {})


def build_job(config: DictConfig) -> Job:
    """Check and type the composed configuration. Raises ConfigError, one line, for the first mistake."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key, text = error.full_key or "configuration", str(error).splitlines()[0]
        fix = f"set it on the command line ({key}=...)" if isinstance(error, MissingMandatoryValue) else text
        raise ConfigError(f"{key} has no value; {fix}") from error
    for group in GLOBAL_GROUPS:
        if isinstance(plain.get(group), dict):
            raise ConfigError(f"the option of {group}=... needs the line '# @package _global_' at the top of its file")
    _check_keys("", plain, [field.name for field in fields(Job) if field.name != "sections"], all_of_them=True)
    values, sections = zip(*(build(section, plain[section]) for section in SECTIONS), strict=True)
    results_dir, seeds = _folder(plain["results_dir"]), parse_seeds(plain["seeds"])
    tune, tuning_seeds = _true_or_false("tune", plain["tune"]), parse_seeds(plain["tuning_seeds"], "tuning_seeds")
    learner: Learner = values[SECTIONS.index("learner")]
    tuned = None if plain["tuned"] is None else check_name(plain["tuned"])
    if tune and (tuned is None or not str(plain["experiment"]).startswith("tuning/")):
        raise ConfigError("tune=true is for the command `tune`, and needs a name (tuned=...): cbp_experiments tune ...")
    if tune:
        _refuse_overlap("tuning_seeds", tuning_seeds, seeds, "is one of the runs that are reported (seeds=...)")
    elif tuned:
        choice = read_choice(tuning_folder(results_dir, tuned, learner.name))
        _refuse_overlap("seeds", seeds, choice.seeds, f"has chosen the settings of tuned={tuned}")
    return Job(
        experiment=_experiment(plain["experiment"]),
        seeds=tuning_seeds if tune else seeds,
        scale=str(plain["scale"]),
        results_dir=results_dir,
        force=_true_or_false("force", plain["force"]),
        tuned=tuned,
        tune=tune,
        tuning_seeds=tuning_seeds,
        checkpoint_seconds=_seconds("checkpoint_seconds", plain["checkpoint_seconds"]),
        sections=dict(zip(SECTIONS, sections, strict=True)),
        **dict(zip(SECTIONS, values, strict=True)),
    )


def parse_seeds(value: object, key: str = "seeds") -> list[int]:
    """Parse seeds: `seeds=5` means the five seeds 0 to 4, `seeds=[3,7]` those two. Raises ConfigError."""
    how = f"give a count ({key}=5) or a list of different seeds ({key}=[3,7])"
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_SEED:
            raise ConfigError(f"{key} must be at least 1 and at most 2^32, got {value}; {how}")
        return list(range(value))
    if not isinstance(value, list) or not value or any(isinstance(s, bool) or not isinstance(s, int) for s in value):
        raise ConfigError(f"{key} must be a whole number or a list of them, got {value!r}; {how}")
    if len(set(value)) < len(value) or not all(0 <= seed < MAX_SEED for seed in value):
        raise ConfigError(f"{key} must be different and between 0 and 2^32 - 1, got {value}; {how}")
    return value


def _cause(error: BaseException) -> str:
    """Return the error from which the chain of an import error started, in one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    line = next(iter(str(error).splitlines()), "")
    return line if isinstance(error, ImportError) else f"{type(error).__name__}: {line}"


def build(section: str, values: Any) -> tuple[Any, dict[str, Any]]:
    """Build the dataclass that `_target_` names from the values of a section; also return its values as plain data.

    A value of another type is converted if it means the same (3 to 3.0), so that equal settings look equal.
    """
    if not isinstance(values, dict) or not isinstance(values.get("_target_"), str):
        raise ConfigError(f"{section} must be a group of keys with a _target_, got {values!r}")
    given = {key: value for key, value in values.items() if key != "_target_"}
    try:
        cls = get_class(values["_target_"])
    except Exception as error:  # importing runs any code
        why = _cause(error)
        raise ConfigError(f"{section}._target_: no class {values['_target_']!r} can be imported ({why})") from error
    if not is_dataclass(cls):
        raise ConfigError(f"{section}._target_: {values['_target_']} must be a dataclass")
    names = [field.name for field in fields(cls)]
    into = getattr(cls, "groups", None)
    groups = {key: value for key, value in given.items() if into and key not in names and _is_group(value)}
    parts = {key: build(f"{section}.{key}", given.pop(key)) for key in groups}
    _check_keys(f"{section}.", given, [name for name in names if name != into])
    typed = OmegaConf.structured(cls)
    for field in fields(cls):
        if field.name in given:
            typed = _merge(typed, section, field.name, given[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{section}.{field.name} has no value; set it in the configuration of {section}")
    plain: Any = OmegaConf.to_container(typed)
    if not into:
        return _made(cls, plain, section), {"_target_": values["_target_"], **plain}
    built = cls(**plain | {into: {key: part for key, (part, _) in parts.items()}})
    del plain[into]
    return built, {"_target_": values["_target_"], **plain, **{key: values for key, (_, values) in parts.items()}}


def _is_group(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("_target_"), str)


def _made(cls: type, plain: dict[str, Any], section: str) -> Any:
    """Make the dataclass from these values; prefix the errors of a part of a learner with its section."""
    try:
        return cls(**plain)
    except ConfigError as error:
        if issubclass(cls, Part):
            raise ConfigError(f"{section}.{error}") from error
        raise


def _merge(typed: Any, section: str, key: str, value: object) -> Any:
    try:
        return OmegaConf.merge(typed, {key: value})
    except OmegaConfBaseException as error:
        hint = get_type_hints(OmegaConf.get_type(typed))[key]
        kinds = [kind for kind in get_args(hint) if kind is not NoneType] if NoneType in get_args(hint) else [hint]
        expected = EXPECTED.get(get_origin(kinds[0]) or kinds[0], str(kinds[0]))
        got = "null" if value is None else repr(value)
        raise ConfigError(f"{section}.{key} must be {expected}, got {got}") from error


def _check_keys(prefix: str, given: dict[str, Any], names: list[str], *, all_of_them: bool = False) -> None:
    for key in given:
        if key not in names:
            raise unknown_key(str(key), names, prefix)
    for name in names:
        if all_of_them and name not in given:
            raise ConfigError(f"{prefix}{name} is missing from the configuration; conf/config.yaml has it")


def _experiment(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", value):
        raise ConfigError(f"experiment={value}: it names a folder below results_dir; use letters, digits, _ - . and /")
    return value


def _refuse_overlap(key: str, seeds: list[int], others: list[int], why: str) -> None:
    """Raise ConfigError if seeds are in both lists: settings look better than they are on seeds that chose them."""
    if both := sorted({*seeds} & {*others}):
        raise ConfigError(f"{key}: seed {both[0]} {why}; settings are chosen and reported on different seeds")


def _folder(value: object) -> Path:
    if value in ("", None) or not isinstance(value, str | int | float):
        raise ConfigError(f"results_dir must be the path of a folder, got {value!r}")
    try:
        folder = Path(str(value)).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            folder.stat()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL, the home of an unknown user
        raise ConfigError(f"results_dir={value} cannot be the path of a folder: {error}") from error
    return folder


def _true_or_false(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false, got {value!r}")
    return value


def _seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ConfigError(f"{key} must be a number of seconds, 0 or more, got {value!r}")
    return float(value)
