"""How the online engine's functions are compiled."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core import config

HERE = Path(__file__).parent
# Sums may be reassociated, but not-a-number and infinity keep their meaning: the engine must see a run diverge.
# Nothing allocates, so the code does without reference counts (_nrt): they took a third of its time.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}, "_nrt": False}

# Numba's cache notices a change in a function's own file, not in those it calls: a folder for each version of all.
VERSION = sha256(b"".join(file.read_bytes() for file in sorted(HERE.glob("*.py")))).hexdigest()[:12]
CACHE = HERE / "__pycache__" / VERSION

inlined = numba.njit(inline="always", **OPTIONS)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, for threads that run without Python's lock; cached on disk."""
    return _compile(function, OPTIONS)


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """As jit, but operation by operation as written, so that the last bit is that of Python."""
    return _compile(function, OPTIONS | {"fastmath": False})


def _compile(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    if not _writable(CACHE):  # Numba would look for another place, one that is the same for all versions
        return numba.njit(nogil=True, **options)(function)
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
