"""stdout or stderr that is closed, full, gone or ASCII: commands do their work, and exit as they would without."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from cbp_experiments.analysis import summaries as summarize
from cbp_experiments.figures import draw
from cbp_experiments.output import guarded
from cbp_experiments.preparing import command as preparing
from cbp_experiments.report import page
from cbp_experiments.streams import image_cache
from cbp_experiments.training.job import build_job
from cbp_experiments.training.runner import run_job
from tests import imagenets
from tests.command import TINY, composed, metrics, train

ROOT = Path(__file__).parents[1]
LINES = """
import logging, os, sys
from cbp_experiments.output import guarded
with guarded():
    for _ in range(20_000):  # more than a pipe holds
        print("80.45 \\xb1 0.14")
    logging.warning("\\xb1 and a name that is no text: %s", os.fsdecode(b"caf\\xe9"))
    print("end", file=sys.stderr)
    sys.exit(3)
"""


def shell(redirected: str, code: str = LINES, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Python code with its output redirected by bash; the exit code is Python's."""
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirected}; exit ${{PIPESTATUS[0]}}', sys.executable, code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        ("| head -1", ["WARNING", "end"]),
        (">/dev/full", ["WARNING", "end", "warning: output is missing, stdout could not be written (No space left"]),
        (">&-", ["WARNING", "end"]),
        ("2>&-", []),
        ("<&- >&- 2>&-", []),
        ("2>/dev/full", []),
        (">/dev/full 2>/dev/full", []),
        ("2>&1 >/dev/null | head -c 1", []),
    ],
)
def test_failing_output_leaves_the_exit_code_and_no_traceback(redirected: str, said: list[str]) -> None:
    done = shell(redirected)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_what_an_encoding_lacks_is_escaped(environment: dict[str, str]) -> None:
    done = shell("", PYTHONUTF8="0", **environment)
    assert done.returncode == 3
    assert set(done.stdout.splitlines()) == {r"80.45 \xb1 0.14"}
    assert done.stderr.splitlines() == [r"WARNING:root:\xb1 and a name that is no text: caf\udce9", "end"]


def test_a_file_does_not_get_the_number_of_a_closed_stream() -> None:
    code = """
import os, tempfile
from cbp_experiments.output import guarded
with guarded(), tempfile.TemporaryFile() as file:
    os.system("echo noise; echo noise >&2")  # as a library in C prints
    os._exit(file.seek(0, 2))
"""
    assert shell("<&- >&- 2>&-", code).returncode == 0


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    code = LINES.replace("with guarded", "os.set_blocking(1, False)\nwith guarded")
    done = shell("| (sleep 0.3; cat)", code)
    assert (done.returncode, done.stdout.count("\n")) == (3, 20_000)


def test_streams_that_are_no_files_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream := io.StringIO())
    with guarded():
        assert sys.stdout is stream
        print("here")
    assert stream.getvalue() == "here\n"


def test_it_can_be_nested() -> None:
    code = """
import sys
from cbp_experiments.output import guarded
before = sys.stdout
with guarded():
    outer = sys.stdout
    with guarded():
        assert sys.stdout is outer is not before
        print("inner")
    print("outer")
assert sys.stdout is before
"""
    assert (shell("", code).stdout, shell("", code).returncode) == ("inner\nouter\n", 0)


def full() -> io.TextIOWrapper:
    return open("/dev/full", "w")


def gone() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


def ascii_only() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="ascii")


Stream = Callable[[], io.TextIOWrapper]
STREAMS = pytest.mark.parametrize("stream", [full, gone, ascii_only])


@contextmanager
def both(stream: Stream) -> Iterator[None]:
    """stdout and stderr are such streams."""
    with stream() as out, stream() as err, redirect_stdout(out), redirect_stderr(err):
        yield


@STREAMS
def test_training_goes_on(stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train("seeds=2", "results_dir=undisturbed")
    with both(stream), guarded():
        run_job(build_job(composed(*TINY, "seeds=2", "results_dir=disturbed")))
    assert metrics(tmp_path / "disturbed") == metrics(tmp_path / "undisturbed")


@STREAMS
def test_the_scripts_exit_as_usual(stream: Stream, tmp_path: Path) -> None:
    train(f"results_dir={tmp_path}")
    experiment = tmp_path / "permuted_mnist"
    options = ["--results-dir", str(tmp_path)]
    with both(stream):
        assert summarize.main(["permuted_mnist", *options]) == 0
        assert draw.main(["fig4", *options]) == 2
        assert page.main([*options, "--scale", "paper"]) == 2
    assert (experiment / "summary.csv").exists()


@STREAMS
def test_images_are_prepared(stream: Stream, tmp_path: Path) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    with both(stream):
        assert preparing.main([str(source), "--output", str(tmp_path / "cache"), "--workers", "1"]) == 0
        assert preparing.main([str(tmp_path / "nothing"), "--output", str(tmp_path / "cache")]) == 2
    assert len(image_cache.load(tmp_path / "cache").names) == imagenets.CLASSES
