"""Composes the configuration of each job from the command line, with Hydra."""

import copy
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from cbp_experiments.cli.expanding import Line, parts, per_learner
from cbp_experiments.cli.hydra_errors import CONF as CONF
from cbp_experiments.cli.hydra_errors import DERIVED, check, explained, initialized, parse
from cbp_experiments.errors import ConfigError

BASIC = "basic"  # Hydra's default launcher and sweeper
LAUNCHERS = ("joblib", "submitit")  # errors from these modules come from a launcher, not from a job
NOT_CHOSEN = "."  # hydra.sweep.dir in conf/config.yaml
# Hydra writes files only through a launcher, and never changes folder: setting these would do nothing, or harm.
WITHOUT_EFFECT = ("hydra.run", "hydra.job.chdir")
ONLY_LAUNCHED = (
    *("hydra.sweep", "hydra.output_subdir", "hydra.callbacks", "hydra/callbacks", "hydra.verbose"),
    *("hydra.job_logging", "hydra/job_logging", "hydra.hydra_logging", "hydra/hydra_logging"),
)


class Composed(NamedTuple):
    """A job: its overrides as one string, its configuration, and the launcher that trains it.

    sweep_dir: where the launcher writes, if the command line sets hydra.sweep.dir. grid: the overrides of the job's
    grid.
    """

    overrides: str
    config: DictConfig
    launcher: str = BASIC
    sweep_dir: Path | None = None
    grid: tuple[str, ...] = ()


def _at_scale(values: dict[str, Any], *, _root_: DictConfig) -> Any:
    """Resolve `${at_scale:{smoke:1, laptop:2, paper:3}}` to the value for the configured scale."""
    if _root_.scale not in values:
        raise ValueError(f"no value for scale={_root_.scale}; there are: {', '.join(values)}")
    return values[_root_.scale]


def _tasks_of(examples: int, *, _parent_: DictConfig) -> int:
    """Resolve `tasks: ${tasks_of:48_000_000}` to the number of tasks that fit into that many examples, at least 1."""
    return max(1, examples // _parent_.task_length)


def _times(value: float, factor: float) -> float:
    """Resolve `perturbation_std: ${times:${learner.weight_decay},0.1}` to the product, rounded to 12 digits."""
    return float(f"{float(value) * float(factor):.12g}")


OmegaConf.register_new_resolver("at_scale", _at_scale, replace=True)
OmegaConf.register_new_resolver("tasks_of", _tasks_of, replace=True)
OmegaConf.register_new_resolver("times", _times, replace=True)


def compose(*, tune: bool = False) -> list[Composed]:
    """Compose the jobs that the command line asks for; tune: the jobs of the command `tune`, a grid for each learner.

    Hydra only composes. The jobs run afterwards, so all jobs of a multirun are checked before any is trained. The list
    is empty if the command line only asks Hydra to print something (--cfg, --info). Raises ConfigError.
    """
    options = _options(sys.argv[1:])
    folders = [Path(options.config_dir), CONF] if options.config_dir else [CONF]
    grids = parts(options.overrides, folders)
    if options.help or options.hydra_help or options.info or options.resolve or options.shell_completion:
        for overrides in grids:
            _show(options, overrides)
        return []
    with initialized():
        lines = [Line(overrides, tune, options.multirun, folders) for overrides in grids]
        with explained(options.overrides):
            grids = [grid for line in lines for grid in per_learner(line, partial(_configuration, options))]
        composed = [] if options.cfg else [job for grid in grids for job in _grid(options, grid, tune)]
    if options.cfg:
        for overrides in grids:
            _show(options, overrides)
    return composed


def distinctions(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job without those that all jobs share."""
    split = [text.split(" ") for text in overrides]
    return [[text for text in texts if not all(text in other for other in split)] for texts in split]


def _options(arguments: Sequence[str]) -> Namespace:
    """Parse the arguments as Hydra does."""
    said = StringIO()
    try:
        with redirect_stderr(said):
            options = get_args_parser().parse_intermixed_args(arguments)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(f"{said.getvalue().rpartition('error: ')[2].strip()}; see --help and --hydra-help") from stop
    if options.config_path or options.experimental_rerun:
        raise ConfigError("--config-path and --experimental-rerun are not supported; --config-dir adds configurations")
    if options.config_dir and not os.path.isdir(options.config_dir):
        raise ConfigError(f"--config-dir={options.config_dir} is not a folder")
    if options.config_dir:
        own = {path.relative_to(options.config_dir) for path in Path(options.config_dir).rglob("*.yaml")}
        if both := sorted(path.as_posix() for path in own if (CONF / path).is_file()):
            raise ConfigError(
                f"{options.config_dir}/{both[0]} would be ignored: the package has an option of that name; give yours "
                "another one"
            )
    return options


def _grid(options: Namespace, overrides: list[str], tune: bool) -> list[Composed]:
    """Compose the jobs of one grid, or a single job."""
    parsed = [(text, parse(text)) for text in overrides]
    of_hydra = [text for text, override in parsed if override.is_hydra_override()]
    settings = [text for text, override in parsed if not override.is_hydra_override()]
    swept = [text for text, override in parsed if override.is_sweep_override()]
    base = _configuration(options, [text for text in overrides if text not in swept])
    if base.hydra.runtime.choices["hydra/sweeper"] != BASIC or set(swept) & set(of_hydra):
        raise ConfigError("Hydra's own values cannot be swept over, and only by grids: -m learner.step_size=0.01,0.003")
    jobs, grid = [settings], dict[str, str]()
    if tune or options.multirun or base.hydra.mode == RunMode.MULTIRUN:
        with explained(overrides):
            set_here = {override.key_or_group for _, override in parsed}  # takes precedence over the grid of an option
            params = base.hydra.sweeper.params or {}
            grid = {key: values for key, values in params.items() if key not in set_here}
            lines = [*(f"{key}={values}" for key, values in grid.items()), *settings]
            (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(lines), None)
    elif swept:
        how = f"python -m cbp_experiments -m {swept[0]} ..."
        raise ConfigError(f"{swept[0]}: several values, one job each, need -m ({how})")
    known = grid | {override.key_or_group: None for _, override in parsed}
    composed = [base if overrides == [*of_hydra, *job] else _configuration(options, [*of_hydra, *job]) for job in jobs]
    numbered = enumerate(zip(jobs, composed, strict=True))
    return [_composed(job, config, known, i)._replace(grid=tuple(overrides)) for i, (job, config) in numbered]


def _configuration(options: Namespace, overrides: list[str]) -> DictConfig:
    """Compose the configuration, with Hydra's own part under `hydra`; options may come from --config-dir."""
    check(overrides)
    if options.config_dir:
        search: Any = next((parse(text).value() for text in overrides if text.startswith("hydra.searchpath=")), [])
        folder = f"file://{os.path.abspath(options.config_dir)}"
        overrides = [f"hydra.searchpath={[folder, *search]}", *overrides]
    with explained(overrides):
        return hydra.compose(options.config_name or "config", overrides, return_hydra_config=True)


def _composed(overrides: list[str], config: DictConfig, swept: Mapping[str, str | None], number: int) -> Composed:
    """Resolve all interpolations of a job, including those to Hydra's own values, which differ between jobs.

    swept: the job's grid, and the keys that the command line sets, with None.
    """
    for key, values in (config.hydra.sweeper.params or {}).items():
        if swept.get(key, "") not in (values, None):
            raise ConfigError(
                f"the grid {key}={values} would be lost: it needs -m, and of several options that have a grid only "
                "experiments keep it (experiment=a,b)"
            )
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    without_effect = WITHOUT_EFFECT if launcher != BASIC else (*WITHOUT_EFFECT, *ONLY_LAUNCHED)
    for key in (parse(text).key_or_group for text in config.hydra.overrides.hydra):
        if any(f"{key}.".startswith(f"{name}.") for name in without_effect):
            raise ConfigError(f"{key} has no effect here: only results are written, and into results_dir=...")
    with open_dict(config):
        config.hydra.job.num, config.hydra.job.id = number, str(number)
    HydraConfig.instance().set_config(config)
    own = copy.deepcopy(config)
    with open_dict(own):
        del own["hydra"]
    for name in re.findall(r"\$\{hydra:([^}]*)\}", str(OmegaConf.to_container(own))):
        if OmegaConf.select(config.hydra, name) is None:
            raise ConfigError(f"${{hydra:{name}}} has no value here; write a value, or ${{hydra:runtime.cwd}}")
    with explained(overrides):
        OmegaConf.to_container(own, resolve=True)  # its errors name the key
        OmegaConf.resolve(own)
        sweep_dir = str(config.hydra.sweep.dir)
    return Composed(" ".join(overrides), own, launcher, None if sweep_dir == NOT_CHOSEN else Path(sweep_dir))


def launch(train: Callable[[DictConfig], None], composed: Sequence[Composed], sweep_dir: Path) -> None:
    """Let the chosen launcher call `train` for each job, in processes or on machines of its choice.

    sweep_dir: where the launcher writes, unless the command line sets another folder. Raises ConfigError, also if a
    process of the launcher has died.
    """
    options = _options(sys.argv[1:])
    folder = str(sweep_dir.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    for overrides in dict.fromkeys(job.grid for job in composed):
        ours = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir='{folder}'"]  # the user's come later and win
        with explained(overrides):
            try:
                _hydra(train, [*_flags(options), *ours, *overrides])
            except Exception as error:
                if type(error).__module__.partition(".")[0] not in LAUNCHERS:
                    raise
                problem = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise ConfigError(
                    f"a process of the launcher has ended: {problem[0]}; run the same command again"
                ) from error


def _show(options: Namespace, overrides: list[str]) -> None:
    """Print what --help, --cfg or --info ask for, as Hydra does, without the groups that users do not choose from."""
    flags, said = _flags(options), StringIO()
    if options.cfg == "job" and not options.resolve:
        flags.append("--resolve")  # print values, not interpolations
    hidden = tuple(f"{group}:" for group in (*DERIVED, "grid") if options.help)  # `tune` names the grid
    try:
        with explained(overrides), redirect_stdout(said):
            _hydra(lambda config: None, [*overrides, *flags])  # flags last: one may take the next argument as its value
    finally:  # Hydra exits after --help
        print("".join(line for line in said.getvalue().splitlines(True) if not line.startswith(hidden or "\0")), end="")


def _flags(options: Namespace) -> list[str]:
    return [argument for argument in sys.argv[1:] if argument not in options.overrides]


def _hydra(task: Callable[[DictConfig], None], arguments: list[str]) -> None:
    """Run Hydra's own command line, which calls `task` for each job."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as exceptions; Hydra would print them and exit with 1
    before, sys.argv = sys.argv, [sys.argv[0], *arguments]  # Hydra reads sys.argv
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    finally:
        sys.argv = before
