"""Turns the signals that ask a process to stop into an exception: Ctrl-C, SIGTERM and SIGHUP."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# SIGTERM: SLURM's preemption and time limit, docker stop. SIGHUP: the terminal or the ssh connection is gone.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """One of the signals of STOPPING arrived. A KeyboardInterrupt, so that libraries clean up as after Ctrl-C."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a process that this signal ended: 130, 143 or 129."""
        return 128 + self.number


@contextmanager
def raised() -> Iterator[None]:
    """A context in which each signal of STOPPING raises Interrupted in the main thread."""

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    with handled(handler):
        yield


class Request:
    """Whether one of the signals has asked to stop: its number, or None."""

    number: int | None = None


@contextmanager
def noted() -> Iterator[Request]:
    """A context in which the first signal of STOPPING is only noted; a second one raises Interrupted."""
    request = Request()

    def handler(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            raise Interrupted(number)
        request.number = number

    with handled(handler):
        yield request


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Set the handler of each signal, in the main thread, which is the only one that receives them.

    It is set explicitly because process 1 of a container ignores a signal without a handler. A signal that the parent
    set to be ignored stays ignored (nohup; a shell's background jobs ignore SIGINT).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    heard = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in heard:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in heard.items():
            signal.signal(number, old)
