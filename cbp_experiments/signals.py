"""The signals that ask a process to stop become an exception: Ctrl-C, SIGTERM and SIGHUP."""

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
        """What a shell reports of a process that this signal ended: 130, 143 or 129."""
        return 128 + self.number


@contextmanager
def raised() -> Iterator[None]:
    """Within, each signal of STOPPING raises Interrupted in the main thread."""

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    with handled(handler):
        yield


class Request:
    """Whether one of the signals has asked to stop: its number, or None."""

    number: int | None = None


@contextmanager
def noted() -> Iterator[Request]:
    """Within, the first signal of STOPPING is noted, and interrupts nothing; a second one raises Interrupted."""
    request = Request()

    def handler(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            raise Interrupted(number)
        request.number = number

    with handled(handler):
        yield request


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Set the handler of each signal, in the main thread, which is the one that hears them.

    It is set explicitly because process 1 of a container ignores a signal without one. A signal that the parent had us
    ignore stays ignored (nohup; a shell's background jobs ignore SIGINT).
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
