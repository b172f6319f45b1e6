"""Output that cannot fail: a reader that is gone, a full disk or a narrow encoding never ends a command."""

import errno
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)  # the reader of the pipe or the terminal is gone: whoever closed it knows


class _Output(FileIO):
    """A file descriptor for writing. What cannot be written is dropped, and the first error is kept."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full for the moment
                select.select([], [self], [])
            return written
        except OSError as error:
            self.error = self.error or error
            return len(memoryview(data).cast("B"))


@contextmanager
def guarded() -> Iterator[None]:
    """A context, or decorator, in which writing to stdout and stderr never raises, not even at the interpreter's exit.

    Output that cannot be written is dropped, and characters that the encoding lacks are escaped. At the end, a line on
    stderr reports an error of stdout, unless its reader is gone. The streams of a notebook or a test do not change.
    """
    _reserve_descriptors()
    before = sys.stdout, sys.stderr
    out, err = _guard(sys.stdout, 1), _guard(sys.stderr, 2)
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        for stream in (out, err):
            with suppress(ValueError):  # already closed
                stream.flush()
        error = getattr(_raw(out), "error", None)
        if error and error.errno not in GONE:
            print(f"warning: output is missing, stdout could not be written ({error.strerror})", file=err, flush=True)
        sys.stdout, sys.stderr = before


def _reserve_descriptors() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that is closed (>&-).

    Otherwise the next opened file, perhaps a checkpoint, would get its number, and all that libraries print to it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _guard(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream like `stream` that never raises. stream: None if it was closed at the start."""
    if stream is not None and (type(stream) is not TextIOWrapper or isinstance(_raw(stream), _Output)):
        return stream
    if stream is not None:
        with suppress(OSError, ValueError):
            descriptor = stream.fileno()
            stream.flush()
    return TextIOWrapper(
        BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=bool(stream and stream.line_buffering),
    )


def _raw(stream: TextIO) -> object:
    return getattr(getattr(stream, "buffer", None), "raw", None)
