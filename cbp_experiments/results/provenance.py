"""Where a run's numbers come from: versions and the commit of the code."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARIES = ("cbp-experiments", "torch", "numpy", "numba")
NUMBERS = 2  # the version of the numerics: every change that moves numbers raises it; CHANGELOG.md lists them


@cache
def provenance() -> dict[str, object]:
    """Return `numbers`; `versions` of Python, this package and its numerical libraries; `git_commit`; `machine`."""
    return {
        "numbers": NUMBERS,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "git_commit": _commit(),
        "machine": platform.machine(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit(repository: Path = REPOSITORY) -> str | None:
    """Return the commit, with "-dirty" if tracked files differ from it; None in an installed wheel."""
    if not (repository / ".git").exists():
        return None
    # Not `git describe --dirty`: it always locks the index, so a `git commit` at that moment would fail.
    command = ["git", "--no-optional-locks", "-C", str(repository), "status", "--porcelain=v2", "--branch"]
    try:
        output = subprocess.check_output([*command, "--untracked-files=no"], stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = output.decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    dirty = "-dirty" if any(not line.startswith("#") for line in lines) else ""
    return None if commit == "(initial)" else commit + dirty
