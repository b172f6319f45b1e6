"""Where compiled code is kept: a start compiles only what no earlier one could save, and never fails for its cache."""

import errno
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from numba.core import caching, config

from cbp_experiments import compiling

Capture = pytest.CaptureFixture[str]


def double(number: float) -> float:
    return 2 * number


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """A folder as of an installation, and one as of a user."""
    places = [tmp_path / "package", tmp_path / "user"]
    monkeypatch.setattr(compiling, "folders", lambda: places)
    compiling._say_once.cache_clear()
    yield places
    compiling._say_once.cache_clear()


def read_only(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """As a file system that is mounted read-only; the mode of a folder does not stop root."""
    ensure = caching._CacheLocator.ensure_cache_path

    def refuse(self: Any) -> None:
        if Path(self.get_cache_path()) in folders:
            raise OSError(errno.EROFS, "Read-only file system")
        ensure(self)

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)


def compiles(number: float = 2.0) -> bool:
    """Whether a new start compiles the function, and does not find it."""
    function: Any = compiling.jit(double)
    assert function(number) == 2 * number
    return function.stats.cache_hits.total() == 0


def test_code_is_compiled_once(places: list[Path]) -> None:
    assert compiles()
    assert not compiles()
    assert [place.exists() for place in places] == [True, False]


def test_an_installation_that_is_read_only_uses_the_code_compiled_before(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert compiles()
    read_only(monkeypatch, places[0])
    assert not compiles()
    assert compiles(number=2), "integers were not compiled before"
    assert not compiles(number=2)
    assert list(places[1].iterdir()), "what the installation lacks is saved for the user"
    assert capsys.readouterr().out == ""


def test_an_installation_may_be_mounted_elsewhere(places: list[Path]) -> None:
    assert compiles()
    places[0] = places[0].rename(places[0].parent / "mounted")
    assert not compiles()


def test_without_a_folder_that_can_be_written_a_line_says_so_once(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    read_only(monkeypatch, places[0])
    places[1].write_text("in the way")
    assert compiles()
    assert compiles()
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert f"compiled code cannot be saved ({places[0]}: Read-only file system; {places[1]}: " in out
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in out


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("length", [0, 60])
def test_a_damaged_file_is_replaced(places: list[Path], kind: str, length: int) -> None:
    assert compiles()
    (file,) = places[0].glob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[:length])
    assert compiles()
    assert not compiles()


def test_code_for_other_types_is_not_taken(places: list[Path]) -> None:
    """Two processes that save two signatures at the same time may both write into the first file."""
    assert compiles(number=2.0)
    assert compiles(number=2)
    first, second = sorted(places[0].glob("*.nbc"))
    first.write_bytes(second.read_bytes())
    assert compiles(number=2.0)


def test_the_folders_are_the_packages_and_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    package = compiling.HERE / "__pycache__" / compiling.VERSION
    assert compiling.folders() == [package, Path("/home/someone/.cache/cbp_experiments", compiling.VERSION)]
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/cache")
    assert compiling.folders() == [package, Path("/scratch/cache/cbp_experiments", compiling.VERSION)]
    monkeypatch.setattr(config, "CACHE_DIR", "/scratch/numba")
    assert compiling.folders() == [Path("/scratch/numba/cbp_experiments", compiling.VERSION)]


@compiling.compiles_in(7)
class Slow(NamedTuple):
    number: float


def first(numbers: tuple[Any, ...]) -> Any:
    return numbers[0]


def test_a_line_says_that_it_compiles_and_how_long(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """With what its arguments hold; a machine on which the trial takes twice as long takes twice as long."""
    monkeypatch.setattr(compiling, "_trial_seconds", lambda: 2 * compiling.TRIAL_SECONDS)
    for numbers, expected in (((4.0, 3.0), 6), ((4.0, Slow(3.0)), 20)):
        for line in (f"  compiling (once, about {expected} s)\n", ""):
            function = compiling.announced(3)(first)
            for _ in range(2):
                function(numbers)
            assert capsys.readouterr().out == line


def test_threads_that_wait_for_the_same_code_say_it_once(places: list[Path], capsys: Capture) -> None:
    function = compiling.announced(3)(double)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(function, [1.0] * 4)) == [2.0] * 4
    assert re.fullmatch(r"  compiling \(once, about \d+ s\)\n", capsys.readouterr().out)
