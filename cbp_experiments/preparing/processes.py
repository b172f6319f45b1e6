"""Applies a function to many items in several processes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import TypeVar

from cbp_experiments.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield `function` of each item as it is done; in this process if `workers` is 1. Stops at the first error."""
    if workers == 1 or len(items) < 2:
        yield from map(function, items)
        return
    executor = ProcessPoolExecutor(
        min(workers, len(items)), mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        for future in as_completed([executor.submit(function, item) for item in items]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ConfigError(
            "a worker process was ended from outside, perhaps for want of memory: give the same command again, "
            "with fewer --workers"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is killed; otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
