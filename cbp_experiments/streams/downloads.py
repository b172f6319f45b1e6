"""Download a data set's file with torchvision: completely or not at all, and with a one-line error if it fails."""

import io
import socket
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from cbp_experiments.errors import ConfigError

NETWORK_TIMEOUT = 30.0  # seconds without an answer; torchvision itself would wait as long as the system does
Addresses = Callable[[], tuple[Sequence[str], str]]


def download(target: Path, addresses: Addresses, *, missing: str, put: str, instead: str) -> Path:
    """Download `target` and return it. The addresses end in its name.

    `addresses` returns the URLs, which are tried in turn, and the md5 of the file; it may import torchvision, which
    takes seconds. Raises ConfigError, which says what is `missing`, what the user may `put` where, and what to do
    `instead`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=target.parent) as unfinished:
            print(f"downloading {target.name} into {target.parent}", flush=True)
            try:
                _fetch(*addresses(), unfinished)
            except (ImportError, OSError, RuntimeError, HTTPException) as error:
                raise ConfigError(
                    f"{missing} and cannot be downloaded ({one_line(error)}): {put}, or {instead}"
                ) from error
            return Path(unfinished, target.name).replace(target)
    except OSError as error:
        raise ConfigError(
            f"{missing} and cannot be written there ({one_line(error)}): choose another data.root, or {instead}"
        ) from error


def one_line(error: Exception) -> str:
    """Return the error's text in one line."""
    return " ".join(str(error).split())


def _fetch(urls: Sequence[str], md5: str, folder: str) -> None:
    """Download quietly with torchvision, from the first address that works."""
    from torchvision.datasets import utils

    failures: list[Exception] = []
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        for url in urls:
            try:
                with redirect_stderr(io.StringIO()):
                    utils.download_url(url, folder, md5=md5)
                return
            except (OSError, RuntimeError, HTTPException) as error:
                failures.append(error)
    finally:
        socket.setdefaulttimeout(timeout)
    raise failures[0]
