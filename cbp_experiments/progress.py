"""Shows how far a job is: a bar on a terminal, a line every 30 seconds in a log; and prints lines meanwhile."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from cbp_experiments.words import duration

BAR_SECONDS, LINE_SECONDS = 0.5, 30.0
TRIED_SECONDS = 60.0  # of training, after which the announced time is compared with the measured speed

# Not tqdm's lock: it stays locked when writing raises, and then every worker waits forever.
_lock = threading.RLock()
_current: "Progress | None" = None


class Progress:
    """A context that counts what is done and shows it on stderr. Never raises if output fails.

    total: of `unit`, including those `done` before; may be changed while it runs. shown: False shows nothing.
    expected: seconds that were announced for what is left. clock: returns seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        shown: bool = True,
        expected: float | None = None,
        unit: str = "updates",
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self._unit, self._initial, self._done, self._clock = unit, done, done, clock
        self._shown = shown and total > done
        self._expected = expected / (total - done) if expected and total > done else None  # seconds for one
        self._terminal, self._width = False, 0  # of the bar that is on the terminal

    def __enter__(self) -> Self:
        global _current
        self._terminal = self._shown and _is_terminal(sys.stderr)
        self._started = self._drawn = self._clock()
        with _lock:
            _current = self
            if self._terminal:
                self._draw()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        global _current
        with _lock:
            _current = None
            if self._terminal:
                self._draw()
                _write(sys.stderr, "\n")

    def update(self, number: int = 1) -> None:
        """Count `number` more as done. Can be called from any thread."""
        with _lock:
            self._done += number
            now = self._clock()
            if not self._shown:
                return
            if self._expected and now - self._started >= TRIED_SECONDS:
                self._correct(self._expected)
                self._expected = None
            if now - self._drawn >= (BAR_SECONDS if self._terminal else LINE_SECONDS):
                self._drawn = now
                self._draw()

    def _draw(self) -> None:
        if self._terminal:
            self._width = _columns() - 1
            seconds = self._clock() - self._started
            bar = tqdm.format_meter(
                self._done,
                self.total,
                seconds,
                ncols=self._width,
                unit=f" {self._unit}",
                unit_scale=True,
                initial=self._initial,
                ascii=not _encoding(sys.stderr).startswith("utf"),
            )
            _write(sys.stderr, f"\r{bar[: self._width].ljust(self._width)}")
        else:
            speed = 1 / self._seconds_of_one()
            text = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
            _write(
                sys.stderr, f"  {self._done:,} of {self.total:,} {self._unit}, {text}/s, about {self._left()} left\n"
            )

    def _clear(self) -> None:
        if self._width:
            _write(sys.stderr, f"\r{' ' * self._width}\r")

    def _correct(self, expected: float) -> None:
        """Print how long it will take, if that differs by more than half from what was announced."""
        if abs(self._seconds_of_one() / expected - 1) > 0.5:
            announced = duration(max(expected * (self.total - self._initial), 1))
            say(f"  estimate corrected: about {self._left()} left (announced: {announced} in all)")

    def _seconds_of_one(self) -> float:
        return (self._clock() - self._started) / max(self._done - self._initial, 1)

    def _left(self) -> str:
        return duration(max((self.total - self._done) * self._seconds_of_one(), 1))


def say(line: str) -> None:
    """Print a line on stdout, above the bar if there is one. Can be called from any thread; never raises."""
    with _lock:
        bar = _current if _current and _current._terminal else None
        if bar:
            bar._clear()
        _write(sys.stdout, f"{line}\n")
        if bar:
            bar._draw()


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # closed at the start
        with suppress(OSError, ValueError):
            stream.write(text)
            stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    with suppress(OSError, ValueError):
        return stream is not None and stream.isatty()
    return False


def _encoding(stream: TextIO) -> str:
    return (stream.encoding or "").lower()


def _columns() -> int:
    """Return the width of the terminal that stderr is; 80 if it is none."""
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80
