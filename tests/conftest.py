"""What holds for all tests."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from cbp_experiments.engines import limited_threads
from cbp_experiments.results import RunFolder
from tests.interruptions import PowerCut


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """The tests' networks are so small that threads only wait for each other."""
    with limited_threads(1):
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """Also in a shell's background, where what it starts ignores SIGINT, and the children of that do."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def power_cuts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of checkpoints after which the power goes, one for each call of the command line."""
    left: list[int] = []
    save = RunFolder.save

    def failing(*arguments: Any, **named: Any) -> None:
        save(*arguments, **named)
        if left:
            left[0] -= 1
            if not left[0]:
                del left[0]
                raise PowerCut

    monkeypatch.setattr(RunFolder, "save", failing)
    yield left
    assert not left
