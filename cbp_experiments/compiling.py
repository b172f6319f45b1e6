"""How functions are compiled (engines/compiled, networks/compiled), and where the compiled code is kept."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching, config, types
from numba.core.dispatcher import Dispatcher
from numba.core.sigutils import normalize_signature

from cbp_experiments.progress import say

HERE = Path(__file__).parent
# Sums may be reassociated, but NaN and infinity keep their meaning: the engine must see a run diverge.
# Nothing allocates, so reference counts are off (_nrt); they took a third of the time.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}, "_nrt": False}

# Numba's cache notices changes in a function's own file, not in those it calls: each version of all files has its own
# folder. So does each version of numba: environments that share a user's cache must not overwrite each other's code.
FILES = [Path(__file__), HERE / "seeding.py", *sorted(HERE.glob("*/compiled/*.py"))]
SOURCES = [*(file.read_bytes() for file in FILES), numba.__version__.encode()]
VERSION = sha256(b"".join(SOURCES)).hexdigest()[:12]

TRIAL_SECONDS = 0.05  # to compile `_trial` where the seconds of `announced` were measured

T = TypeVar("T")
SECONDS: dict[type, float] = {}  # see compiles_in

inlined = numba.njit(inline="always", **OPTIONS)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, for threads that run without Python's lock; cached on disk."""
    return _compile(function, OPTIONS)


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like jit, but operation by operation as written, so that results equal Python's to the last bit."""
    return _compile(function, OPTIONS | {"fastmath": False})


def announced(seconds: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Like jit, for a function that is slow to compile: before that, print a line that says about how long it takes.

    seconds: the time of the function; the types of its arguments add theirs (compiles_in).
    """
    return lambda function: _compile(function, OPTIONS, seconds)


def compiles_in(seconds: float) -> Callable[[type[T]], type[T]]:
    """Record how much a NamedTuple's functions add to the time of compiling, where TRIAL_SECONDS was measured."""

    def note(kind: type[T]) -> type[T]:
        SECONDS[kind] = seconds
        return kind

    return note


def _compile(function: Callable[..., Any], options: dict[str, Any], seconds: float = 0.0) -> Callable[..., Any]:
    compiled = numba.njit(nogil=True, **options)(function)
    if isinstance(compiled, Dispatcher):  # not with NUMBA_DISABLE_JIT
        compiled._cache = _Caches(function, folders(), seconds)  # type: ignore[attr-defined]
    return compiled


def folders() -> list[Path]:
    """List the folders in which compiled code is looked up, in this order; it is saved in the first writable one.

    Only NUMBA_CACHE_DIR, if the user has set it. Otherwise the package, which may be installed read-only with a filled
    cache, and the user's own cache folder.
    """
    if config.CACHE_DIR:  # type: ignore[attr-defined]
        return [Path(config.CACHE_DIR, "cbp_experiments", VERSION)]  # type: ignore[attr-defined]
    of_user = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(of_user):
        of_user = os.path.expanduser("~/.cache")
    own = [Path(of_user, "cbp_experiments", VERSION)] if os.path.isabs(of_user) else []  # there may be no home
    return [HERE / "__pycache__" / VERSION, *own]


class _Caches(caching.NullCache):
    """The compiled code of one function, in several folders. A faulty folder or file never stops a run."""

    def __init__(self, function: Callable[..., Any], folders: list[Path], seconds: float) -> None:
        self._caches = [_cache_in(folder, function) for folder in folders]
        self._seconds = seconds
        self._announced: set[Any] = set()
        self._lock = threading.Lock()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        arguments = normalize_signature(sig)[0]
        for each in self._caches:
            try:
                found = each.load_overload(sig, target_context)
                # Two processes that save two signatures at once may take the same file for both.
                if found is not None and found.signature.args == arguments:
                    return found
            except OSError:  # another user's, or a failing disk
                continue
            except Exception:  # damaged: a pickle then raises almost anything
                with suppress(OSError):
                    each.flush()
        if self._seconds:
            self._announce(arguments)
        return None

    def _announce(self, arguments: tuple[Any, ...]) -> None:
        """Print that it compiles, once for all threads that wait for it."""
        with self._lock:
            if arguments in self._announced:
                return
            self._announced.add(arguments)
        seconds = self._seconds + sum(map(_compile_seconds, arguments))
        seconds *= _trial_seconds() / TRIAL_SECONDS
        say(f"  compiling (once, about {max(seconds, 1):.0f} s)")

    def save_overload(self, sig: Any, data: Any) -> None:
        problems = []
        for each in self._caches:
            try:
                return each.save_overload(sig, data)
            except OSError as error:
                problems.append(f"{each.cache_path}: {error.strerror or error}")
        _say_once("; ".join(problems))


def _compile_seconds(kind: Any) -> float:
    """Return the seconds that an argument of this numba type adds, including its elements."""
    inner: Any = kind if isinstance(kind, types.BaseTuple) else ()
    within = sum(_compile_seconds(each) for each in inner)
    return within + SECONDS.get(getattr(kind, "instance_class", type(None)), 0.0)


def _cache_in(folder: Path, function: Callable[..., Any]) -> caching.FunctionCache:
    """Make numba's cache in exactly this folder, whether or not it is writable and wherever the package is mounted."""

    class Locator(caching._CacheLocator):
        def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
            self._py_file, self._line = py_file, py_func.__code__.co_firstlineno

        def get_cache_path(self) -> str:
            return str(folder)

        def get_source_stamp(self) -> str:
            return sha256(Path(self._py_file).read_bytes()).hexdigest()

        def get_disambiguator(self) -> str:
            return str(self._line)

        @classmethod
        def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "Locator":
            return cls(py_func, py_file)

    class Files(caching.CompileResultCacheImpl):
        _locator_classes = [Locator]  # noqa: RUF012 (as numba declares it)

    class Cache(caching.FunctionCache):
        _impl_class = Files

    return Cache(function)


def _trial_seconds() -> float:
    """Measure how long this machine takes to compile a small function: the least of a few, as the first is slower."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        numba.njit(**OPTIONS)(_trial)(1.0, 1)
        taken.append(time.perf_counter() - started)
    return min(taken)


def _trial(x: float, n: int) -> float:
    total = x
    for i in range(n):
        total += x * i
    return total


@cache
def _say_once(problems: str) -> None:
    say(
        f"compiled code cannot be saved ({problems}), so that every start compiles: "
        "set NUMBA_CACHE_DIR to a folder that can be written"
    )
