"""The command line: in this process, with and without Hydra, and in a process of its own."""

import copy
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from cbp_experiments.__main__ import main
from cbp_experiments.cli.compose import CONF, Composed
from cbp_experiments.streams import mnist_files

ONE_THREAD = ("engine.device=cpu", "engine.workers=1")
TINY = ("scale=smoke", "data.tasks=2", "data.task_length=20", "network.width=8", "seeds=1", *ONE_THREAD)
BOTH_ENGINES = pytest.mark.parametrize("engine", ["online", "ensemble"])
BUSY = ("learner.replacement_rate=0.01", "learner.maturity_threshold=5", "learner.step_size=0.05")  # units are replaced


@dataclass(frozen=True)
class Outcome:
    """Exit code, and what went to stdout and stderr."""

    code: int
    out: str
    err: str


def call(*arguments: str, base: Sequence[str] = TINY) -> Outcome:
    """`cbp-experiments ARGUMENTS BASE` in this process; a key among the arguments replaces that of the base."""
    with patch.object(sys, "argv", ["cbp-experiments", *arguments, *_without(base, arguments)]):
        return _outcome()


def run(*overrides: str, base: Sequence[str] = TINY) -> Outcome:
    """As `call`, for one job whose overrides are right: in half the time, without Hydra's command line."""
    config = composed(*_without(base, overrides), *overrides)
    with patch("cbp_experiments.cli.compose.compose", lambda **_: [Composed("", config)]):
        return _outcome()


def composed(*overrides: str) -> DictConfig:
    """The configuration that Hydra composes with these overrides."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    groups = [override.key_or_group for override in parsed if (CONF / override.key_or_group).is_dir()]
    config = copy.deepcopy(
        _composed(tuple(f"{o.key_or_group}={o.value()}" for o in parsed if o.key_or_group in groups))
    )
    for override in parsed:
        if override.key_or_group not in groups:
            OmegaConf.update(config, override.key_or_group, override.value(), force_add=override.is_add())
    return config


@cache
def _composed(groups: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", list(groups))


_embedded = cache(mnist_files.embedded)


def _outcome() -> Outcome:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(mnist_files, "embedded", _embedded), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def _without(base: Sequence[str], arguments: Sequence[str]) -> list[str]:
    keys = {argument.lstrip("+~").partition("=")[0] for argument in arguments}
    return [argument for argument in base if argument.partition("=")[0] not in keys]


def spawn(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    """`python -m cbp_experiments ARGUMENTS` as a process of its own, which hears Ctrl-C even where we do not.

    (A shell starts what it runs in the background with SIGINT ignored, and children inherit that.)
    """
    return subprocess.Popen(
        [sys.executable, "-m", "cbp_experiments", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Everything under a folder: relative path, content (none for a folder), time of change in ns."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", os.stat(path).st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def metrics(results_dir: Path) -> dict[str, bytes]:
    """The bytes of every metrics.csv, by experiment and run."""
    return {str(path.parent.relative_to(results_dir)): path.read_bytes() for path in results_dir.glob("**/metrics.csv")}


def train(*arguments: str, base: Sequence[str] = TINY) -> Outcome:
    """`run`, and it must succeed."""
    outcome = run(*arguments, base=base)
    assert outcome.code == 0, outcome
    return outcome


def records(results_dir: Path) -> dict[int, dict[str, Any]]:
    """run.json by seed."""
    found = [json.loads(path.read_text()) for path in results_dir.glob("**/run.json")]
    return {facts["seed"]: facts for facts in found}
