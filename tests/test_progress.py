"""Progress: a bar on a terminal, plain lines in a log, and lines of text between; no output error reaches a caller."""

import errno
import io
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cbp_experiments.progress import Progress, say


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Failing(Terminal):
    """A terminal that raises `error` for everything that is written."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


Capture = pytest.CaptureFixture[str]  # its stderr is no terminal


def train(progress: Progress, clock: Clock, seconds: int, updates: int) -> None:
    """So many seconds, with so many updates in each."""
    with progress:
        for _ in range(seconds):
            clock.now += 1
            progress.update(updates)


def test_a_log_gets_a_plain_line_every_30_seconds(capsys: Capture, clock: Clock) -> None:
    train(Progress(80_000_000, clock=clock), clock, 100, 310_000)
    assert capsys.readouterr().err.splitlines() == [
        "  9,300,000 of 80,000,000 updates, 310,000/s, about 4 min left",
        "  18,600,000 of 80,000,000 updates, 310,000/s, about 3 min left",
        "  27,900,000 of 80,000,000 updates, 310,000/s, about 3 min left",
    ]


def test_a_log_gets_nothing_of_what_is_over_sooner(capsys: Capture, clock: Clock) -> None:
    train(Progress(29, clock=clock), clock, 29, 1)
    assert capsys.readouterr().err == ""


def test_what_was_done_before_does_not_count_as_speed(capsys: Capture, clock: Clock) -> None:
    train(Progress(1000, unit="classes", done=940, clock=clock), clock, 30, 1)
    assert capsys.readouterr().err == "  970 of 1,000 classes, 1/s, about 30 s left\n"


def test_the_total_may_change(capsys: Capture, clock: Clock) -> None:
    progress = Progress(1000, clock=clock)
    progress.total -= 500  # another process has taken a run
    train(progress, clock, 30, 10)
    assert capsys.readouterr().err == "  300 of 500 updates, 10/s, about 20 s left\n"


def test_a_terminal_gets_a_bar_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture, clock: Clock) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    train(Progress(120, clock=clock), clock, 12, 10)
    drawn = terminal.getvalue()
    assert drawn.startswith("\r  0%|")
    assert "100%|██" in drawn
    assert "120/120 [00:12<00:00, 10.0 updates/s]" in drawn
    assert drawn.count("\n") == 1
    assert drawn.endswith("\n")
    assert {len(bar) for bar in drawn.strip("\r\n").split("\r")} == {79}  # each covers the one before
    assert capsys.readouterr().out == ""


def test_a_line_goes_above_the_bar(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(sys, "stdout", both := Terminal())
    monkeypatch.setattr(sys, "stderr", both)
    with Progress(10, clock=clock):
        say("run 3 diverged")
    say("results in results")
    before, said, after = both.getvalue().partition(f"\r{' ' * 79}\rrun 3 diverged\n\r")
    assert said
    assert before.count("\n") == 0
    assert after.splitlines()[-1] == "results in results"


def test_nothing_is_shown_where_it_is_not_wanted_or_nothing_is_to_do(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    train(Progress(1000, shown=False, expected=1.0, clock=clock), clock, 100, 10)
    train(Progress(0, clock=clock), clock, 1, 0)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("expected", "corrected"),
    [
        (600.0, True),  # for what takes 1,000 seconds
        (700.0, False),
        (1900.0, False),
        (2100.0, True),
        (None, False),
    ],
)
def test_the_estimate_is_corrected_once_after_a_minute(
    capsys: Capture, clock: Clock, expected: float | None, corrected: bool
) -> None:
    train(Progress(10_000, expected=expected, clock=clock), clock, 59, 10)
    assert capsys.readouterr().out == ""
    train(Progress(10_000, expected=expected, clock=clock), clock, 200, 10)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == corrected
    assert all(line.startswith("  estimate corrected: about 16 min left (announced: ") for line in lines)


ERRORS = [
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    ValueError("I/O operation on closed file"),
    UnicodeEncodeError("ascii", "█", 0, 1, "ordinal not in range(128)"),
]


@pytest.mark.parametrize("stream", [*map(Failing, ERRORS), None], ids=lambda s: repr(s.error) if s else "closed")
def test_failing_output_neither_raises_nor_stops_a_thread(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, stream: Failing | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)

    def work(_: int) -> None:
        clock.now += 1
        progress.update(1)
        say("a line")

    with Progress(100, expected=1.0, clock=clock) as progress, ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(work, range(100)))) == 100


def test_an_interrupt_while_a_line_is_printed_does_not_stop_the_other_threads(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(100, clock=clock) as progress:
        monkeypatch.setattr(sys, "stdout", Failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            say("a line")
        worker = threading.Thread(target=progress.update, args=(1,), daemon=True)
        worker.start()
        worker.join(10)
        assert not worker.is_alive()
