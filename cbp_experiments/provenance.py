"""Where a run's numbers come from: versions and the commit of the code."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("cbp-experiments", "torch", "numpy", "numba")
NUMBERS = 1  # the version of the numerics: one more with each change that moves numbers, which CHANGELOG.md records


@cache
def provenance() -> dict[str, object]:
    """`numbers`; `versions` of Python, the package and the libraries that compute; `git_commit` of a checkout."""
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


def _commit() -> str | None:
    """The commit, with "-dirty" when tracked files differ from it. None in an installed wheel."""
    repository = Path(__file__).resolve().parents[1]
    if not (repository / ".git").exists():
        return None
    command = ["git", "-C", str(repository), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
