"""The command line as a user calls it: in this process, which takes a fraction of a second, or in one of its own."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from cbp_experiments.__main__ import main

TINY = ("scale=smoke", "data.tasks=2", "data.task_length=20", "network.width=8", "seeds=1", "engine.workers=1")


@dataclass(frozen=True)
class Outcome:
    """Exit code, and what went to stdout and stderr."""

    code: int
    out: str
    err: str


def call(*arguments: str, base: Sequence[str] = TINY) -> Outcome:
    """`cbp-experiments ARGUMENTS BASE` in this process; a key among the arguments replaces that of the base."""
    keys = {argument.lstrip("+~").partition("=")[0] for argument in arguments}
    rest = [argument for argument in base if argument.partition("=")[0] not in keys]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", ["cbp-experiments", *arguments, *rest]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def spawn(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    """`python -m cbp_experiments ARGUMENTS` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cbp_experiments", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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
