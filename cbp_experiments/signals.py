"""The signals that ask a process to stop become an exception: Ctrl-C, SIGTERM and SIGHUP."""

import signal
import threading
from collections.abc import Iterator
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
    """Within, each signal of STOPPING raises Interrupted in the main thread.

    The handlers are set explicitly because process 1 of a container ignores a signal without one. A signal that the
    parent had us ignore stays ignored (nohup; a shell's background jobs ignore SIGINT).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in STOPPING if signal.getsignal(number) in defaults}
    try:
        for number in before:
            signal.signal(number, _raise)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)
