"""The rows of bench.py for Online Permuted MNIST: the online engine, on the embedded MNIST images."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import numpy as np
import torch
from plain_loop import PlainRun
from problem_of import problem_of
from timing import Timing

from cbp_experiments.compiling import jit
from cbp_experiments.engines import Problem, cores, limited_threads
from cbp_experiments.engines.abilities import refusal
from cbp_experiments.engines.arrays import sparse_examples
from cbp_experiments.engines.online import OnlineRun
from cbp_experiments.errors import ConfigError

WIDTHS = (100, 2000)
UPDATES = {100: (10_000, 1_000), 2000: (400, 40)}  # width: updates per round of the engine and of the plain loop
SETTINGS = ("data=permuted_mnist", "scale=laptop", "data.tasks=1")


def contest(name: str, width: int, rounds: int) -> Iterator[Timing]:
    """Yield a row; if the learner does not learn from single examples, print the reason instead."""
    try:
        problem = problem_of(f"learner={name}", f"network.width={width}", *SETTINGS)
        reason = refusal("online", problem)
    except ConfigError as error:
        reason = str(error)
    if reason:
        print(f"{'mlp':>8}{width:8}{name:>12}   not measured: {reason}")
        return
    if problem.network.depth == 0 and width != WIDTHS[0]:
        return
    ours, theirs = UPDATES[width]
    stream, workers = problem.stream, cores()
    task = stream.task(seed=0, task=0)
    assert task.permutation is not None
    position, order = np.argsort(task.permutation), np.resize(task.order, ours)
    x = torch.from_numpy(stream.images[task.order[:theirs]][:, task.permutation]).float() * stream.scale
    y = torch.from_numpy(stream.labels[task.order[:theirs]])
    examples = sparse_examples(problem)
    runs = [OnlineRun(problem, examples, seed) for seed in range(workers)]
    plain = PlainRun(problem.learner, problem.network, problem.inputs, stream.classes)
    times: list[list[float]] = [[], [], []]

    def learn(run: OnlineRun) -> None:
        run.learn(order, position, 0, lambda updates: None)

    with ThreadPoolExecutor(workers) as pool:
        learn(runs[0])  # compiles
        plain.learn(x[:10], y[:10])
        for _ in range(rounds):
            for threads, of in ((workers, times[0]), (1, times[1])):
                with limited_threads(threads):
                    of.append(microseconds(lambda: plain.learn(x, y), theirs))
            with limited_threads(1):
                times[2].append(microseconds(lambda: list(pool.map(learn, runs)), ours * workers))
    all_threads, one_thread, online = map(median, times)
    yield Timing("mlp", width, name, min(all_threads, one_thread), online)


def microseconds(work: Callable[[], object], updates: int) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / updates * 1e6


def further(rounds: int, rows: Sequence[Timing]) -> None:
    """Print an update's share of the memory bandwidth at the largest width, and the metrics' share of the time."""
    wide = [row for row in rows if row.network == "mlp" and row.width == WIDTHS[-1] and row.learner in ("bp", "cbp")]
    if wide:
        speed = bandwidth(cores())
        print(f"\nmemory: {speed:.1f} GB/s (reading twice and writing once, {cores()} threads, 256 MiB each)")
    for row in wide:
        problem = problem_of(f"learner={row.learner}", f"network.width={row.width}", *SETTINGS)
        moved = bytes_of_an_update(problem)
        reached = moved / row.ours / 1e3
        print(f"  mlp {row.width}, {row.learner}: {moved / 1e6:.1f} MB an update, {reached:.1f} GB/s, "
              f"{reached / speed:.0%} of that")  # fmt: skip
    for name in ("bp", "cbp"):
        rank, every = share_of_the_metrics(name, rounds)
        print(f"laptop scale, {name}: effective rank {rank:.1%} of the time, all metrics {every:.1%}")


def bytes_of_an_update(problem: Problem) -> float:
    """Bytes that the kernel moves: the rows of the active inputs are read forward, read backward and written.

    The hidden layers' inputs are those of a network with fresh weights, in which half of the units are active.
    """
    stream, width = problem.stream, problem.network.width
    active = [np.count_nonzero(stream.images) / len(stream.images), *[width / 2] * problem.network.depth]
    outputs = [*[width] * problem.network.depth, stream.classes]
    return float(sum(3 * a * n * problem.dtype.itemsize for a, n in zip(active, outputs, strict=True)))


@jit
def read_read_write(block: np.ndarray, passes: int) -> float:
    total = block[0] * 0
    for _ in range(passes):
        for j in range(len(block)):
            total += block[j]
        for j in range(len(block)):
            block[j] = block[j] * 0.5 + total
    return total


def bandwidth(workers: int, megabytes: int = 256) -> float:
    """GB/s at which all threads together read, read again and write blocks that fit in no cache."""
    blocks = [np.ones(megabytes * 2**20 // 4, np.float32) for _ in range(workers)]
    read_read_write(blocks[0][:16], 1)
    with ThreadPoolExecutor(workers) as pool:
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(lambda block: read_read_write(block, 1), blocks))
            seconds.append(time.perf_counter() - started)
    return workers * 3 * megabytes * 2**20 / median(seconds) / 1e9


def share_of_the_metrics(name: str, rounds: int) -> tuple[float, float]:
    """At laptop scale: the shares of the time that the effective rank and all metrics together take."""
    problem = problem_of(f"learner={name}", "network.width=100", *SETTINGS, metrics=True)
    every, stream = problem.measurements.rank_every, problem.stream
    run = OnlineRun(problem, sparse_examples(problem), 0)
    ranked, unranked, learning = [], [], []
    with limited_threads(1):
        for number in range(3 * rounds):  # a new task each time, as in an experiment
            task = stream.task(0, number)
            assert task.permutation is not None
            position = np.argsort(task.permutation)
            ranked.append(microseconds(partial(run.measure, 0, position), 1))
            unranked.append(microseconds(partial(run.measure, 1, position), 1))
            learn = partial(run.learn, task.order, position, 0, lambda updates: None)
            learning.append(microseconds(learn, 1))
    rank = (median(ranked) - median(unranked)) / every
    whole = median(unranked) + rank + median(learning)
    return rank / whole, 1 - median(learning) / whole
