"""Splits a command line into several: one per experiment that it names, and one per learner if settings are tuned."""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig

from cbp_experiments.cli.hydra_errors import CONF, parse
from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import exists
from cbp_experiments.results.tuned import CHOICE, check_name, read_choice, tuning_folder

OWN_NAME = re.compile(r"\w[\w-]{0,99}(/\w[\w-]{0,99}){0,3}")
RESERVED = ("tuning", "figures")  # folders of results_dir
SIMILAR = 0.8  # to a known experiment (difflib): more is taken for a typo
PARAMS = "hydra.sweeper.params"  # where an option keeps its grid
Compose = Callable[[list[str]], DictConfig]


class Line(NamedTuple):
    """The overrides of a command line. tune: of the command `tune`; multirun: with -m; folders: with configurations."""

    overrides: list[str]
    tune: bool
    multirun: bool
    folders: Sequence[Path]


def parts(overrides: Sequence[str], folders: Sequence[Path] = (CONF,)) -> list[list[str]]:
    """Split the overrides by experiment, if they name several: with commas, choice(), glob(), or a folder's name.

    Hydra composes the grid (hydra.sweeper.params) once, before it sweeps; swept experiments would lose their own grids.
    """
    for i, override in enumerate(map(parse, overrides)):
        if override.key_or_group == "experiment" and not override.is_delete():
            names = _experiments(override, folders)
            if names != [override.value()]:
                each = [[*overrides[:i], f"{override.get_key_element()}={name}", *overrides[i + 1 :]] for name in names]
                return [part for expanded in each for part in parts(expanded, folders)]
    return [list(overrides)]


def per_learner(line: Line, compose: Compose) -> list[list[str]]:
    """Split the overrides by learner, if settings are being tuned or have been (`tuned=NAME`); else return one part.

    compose: composes overrides without sweeps. Raises ConfigError, also for a learner without a choice or a grid.
    """
    parsed = [(text, parse(text)) for text in line.overrides]
    base = compose(_without_sweeps(line.overrides))
    named = next((override for _, override in parsed if override.key_or_group == "learner"), None)
    swept = named is not None and named.is_sweep_override()
    if not (line.tune or (base.get("tuned") and not base.tune)) or (swept and not (line.multirun or line.tune)):
        return [line.overrides]
    params = dict(base.hydra.sweeper.params or {})
    if swept and named:
        learners = list(named.sweep_string_iterator())
    elif named is None and "learner" in params:
        learners = list(parse(f"learner={params['learner']}").sweep_string_iterator())
    else:
        learners = [base.hydra.runtime.choices.learner]
    others = [text for text, override in parsed if override.key_or_group != "learner"]
    grid = [f"~{PARAMS}.learner"] if "learner" in params else []
    expand = _tuning if line.tune else _tuned
    return [expand([*grid, *others, f"learner={learner}"], line, compose) for learner in learners]


def _tuned(overrides: list[str], line: Line, compose: Compose) -> list[str]:
    """Prepend the settings that the tuning chose for the learner, except those that a grid sweeps over."""
    config = compose(_without_sweeps(overrides))
    name = check_name(config.tuned)
    folder = tuning_folder(Path(config.results_dir).expanduser(), name, config.learner.name)
    if not exists(folder / CHOICE):
        how = (
            f"tuning={name}"
            if _is_option("tuning", name, line)
            else f"data={config.hydra.runtime.choices.data} tuned={name}"
        )
        place = "".join(
            f" {key}={config[key]}"
            for key, usual in (("scale", "laptop"), ("results_dir", "results"))
            if config[key] != usual
        )
        raise ConfigError(
            f"tuned={name}: no choice for {config.learner.name} ({folder / CHOICE} is not there); make it with: "
            f"python -m cbp_experiments tune {how} learner={config.hydra.runtime.choices.learner}{place}"
        )
    values = read_choice(folder).values
    swept = config.hydra.sweeper.params or {}
    return [*(f"{key}={value}" for key, value in values.items() if key not in swept), *overrides]


def _tuning(overrides: list[str], line: Line, compose: Compose) -> list[str]:
    """Prepend the options of the tuning: by default the tuning of the data, and its grid for the learner."""
    parsed = {parse(text).key_or_group: parse(text) for text in overrides}
    if "experiment" in parsed:
        raise ConfigError("tune takes no experiment; name the data and the learner: tune data=... learner=...")
    config = compose(_without_sweeps(overrides))
    choices = config.hydra.runtime.choices
    ours = []
    if "tuning" not in parsed:
        ours = [f"tuning={choices.data if _is_option('tuning', choices.data, line) else 'default'}"]
    if "grid" not in parsed:
        stream = choices.data if "tuning" not in parsed else choices.tuning
        name = f"{stream}_{choices.learner}"
        if _is_option("grid", name, line):
            ours.append(f"grid={name}")
        elif not any(override.is_sweep_override() for override in parsed.values()):
            raise ConfigError(
                f"there is no grid for {choices.learner}: write conf/grid/{name}.yaml, or give the values to try: "
                "learner.step_size=0.01,0.003"
            )
    return [*ours, *overrides]


def _without_sweeps(overrides: Sequence[str]) -> list[str]:
    return [text for text in overrides if not parse(text).is_sweep_override()]


def _is_option(group: str, name: str, line: Line) -> bool:
    return any((folder / group / f"{name}.yaml").is_file() for folder in line.folders)


def _experiments(override: Override, folders: Sequence[Path]) -> list[Any]:
    """List the experiments that `experiment=...` names. An unknown name is kept; Hydra reports it."""
    known = _known_experiments(folders)
    value: Any = override.value()
    if isinstance(value, list):
        raise ConfigError(f"{override.input_line} would mix their settings; experiment=a,b trains one after the other")
    if isinstance(value, Glob):
        if not (names := value.filter(known)):
            raise ConfigError(f"{override.input_line} matches no experiment; there are: {', '.join(known)}")
        return names
    if override.is_discrete_sweep():
        names = list(override.sweep_string_iterator())
    else:
        names = [name for name in known if value not in known and name.startswith(f"{value}/")] or [value]
    for name in names:
        if isinstance(name, str) and name not in known:
            _add_experiment(name, known)
    return names


def _known_experiments(folders: Sequence[Path]) -> list[str]:
    roots = [folder / "experiment" for folder in folders]
    paths = {path.relative_to(root).with_suffix("") for root in roots for path in root.rglob("*.yaml")}
    return sorted(path.as_posix() for path in paths)


def _add_experiment(name: str, known: Sequence[str]) -> None:
    """Let Hydra know an experiment without a YAML: it only names the folder of the results.

    A name that is not allowed, or that is probably a typo of a known one, is left for Hydra to report.
    """
    first = name.partition("/")[0]
    taken = first in RESERVED or any(other.startswith(f"{first}/") for other in known)
    if OWN_NAME.fullmatch(name) and not taken and not get_close_matches(name, known, 1, SIMILAR):
        ConfigStore.instance().store(name.rpartition("/")[2], {"experiment": name}, _group_of(name), "_global_")


def _group_of(name: str) -> str:
    return "/".join(["experiment", *name.split("/")[:-1]])
