"""What holds for all tests."""

import signal
from collections.abc import Iterator

import pytest

from cbp_experiments.engines import limited_threads


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
