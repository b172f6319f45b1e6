"""Time per update of one run, the online engine against a plain PyTorch loop, side by side in one process: make bench

Every figure is the median of rounds in which the contestants take turns, so that a machine whose speed drifts does so
for all of them. Both learn from the embedded MNIST images, starting from fresh weights.
"""

import argparse
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median

import bench_conv
import hydra
import numpy as np
import torch
from plain_loop import PlainRun

from cbp_experiments.command_line import CONF
from cbp_experiments.engines import EngineOptions, Problem, cores, limited_threads
from cbp_experiments.engines.arrays import sparse_examples
from cbp_experiments.engines.compiled import structures
from cbp_experiments.compiling import jit
from cbp_experiments.engines.compiled.kernel import features
from cbp_experiments.engines.online import OnlineRun
from cbp_experiments.learners import Learner
from cbp_experiments.measurements import Measurements
from cbp_experiments.networks import MLP
from cbp_experiments.streams.permuted_mnist import PermutedMNIST

LEARNERS = {
    "bp": Learner(name="bp", step_size=0.003),
    "cbp": Learner(name="cbp", step_size=0.003, replacement_rate=1e-4),
    "l2": Learner(name="l2", step_size=0.003, weight_decay=1e-4),
    "snp": Learner(name="snp", step_size=0.003, weight_decay=1e-4, perturbation_std=1e-5),
    "dropout": Learner(name="dropout", step_size=0.003, dropout=0.1),
    "adam": Learner(name="adam", step_size=1e-4, optimizer="adam"),
}
UPDATES = {100: (10_000, 1_000), 2000: (400, 40)}  # width: updates a round of the engine and of the plain loop
BARS = {
    100: {"bp": 40, "cbp": 60, "l2": 30, "snp": 15, "dropout": 30, "adam": 15},
    2000: {"bp": 8, "cbp": 10, "l2": 10, "snp": 10, "adam": 3},
}
CONV_WIDTHS = [32, 128]
STREAM = PermutedMNIST(tasks=1, task_length=5000).load()


@dataclass
class Contest:
    """One learner at one width: microseconds for one update of one run, each round's."""

    width: int
    learner: str
    plain: list[float]
    plain_one_thread: list[float]
    online: list[float]
    bytes_per_update: float

    @property
    def ratio(self) -> float:
        return median(self.plain) / median(self.online)


def microseconds(work: Callable[[], object], updates: int) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / updates * 1e6


def contest(width: int, name: str, rounds: int, workers: int, examples: structures.Examples) -> Contest:
    learner = LEARNERS[name]
    problem = Problem(STREAM, MLP(width=width), learner, Measurements(), EngineOptions())
    ours, theirs = UPDATES[width]
    task = STREAM.task(seed=0, task=0)
    assert task.permutation is not None
    position = np.argsort(task.permutation)
    order = np.resize(task.order, ours)
    x = torch.from_numpy(STREAM.images[task.order[:theirs]][:, task.permutation]).float() * STREAM.scale
    y = torch.from_numpy(STREAM.labels[task.order[:theirs]])
    runs = [OnlineRun(problem, examples, seed) for seed in range(workers)]
    plain = PlainRun(learner, width)

    def learn(run: OnlineRun) -> None:
        run.learn(order, position, np.random.default_rng(0), lambda updates: None)

    result = Contest(width, name, [], [], [], bytes_of_an_update(runs[0], task.order[:200], position))
    with ThreadPoolExecutor(workers) as pool:
        learn(runs[0])  # compiles
        plain.learn(x[:10], y[:10])
        for _ in range(rounds):
            with limited_threads(workers):
                result.plain.append(microseconds(lambda: plain.learn(x, y), theirs))
            with limited_threads(1):
                result.plain_one_thread.append(microseconds(lambda: plain.learn(x, y), theirs))
                result.online.append(microseconds(lambda: list(pool.map(learn, runs)), ours * workers))
    return result


def bytes_of_an_update(run: OnlineRun, rows: np.ndarray, position: np.ndarray) -> float:
    """What the kernel moves: the rows of the active inputs, read forward, read backward and written."""
    network = run.network
    hidden = np.empty((len(network.starts) - 1, len(rows), network.sizes[1]), network.weights.dtype)
    features(
        network,
        run.examples,
        run.normalization,
        run.noise,
        run.adam,
        run.scratch,
        rows,
        position,
        np.random.default_rng(0),
        hidden,
    )
    active = [np.count_nonzero(STREAM.images[rows]) / len(rows), *(np.count_nonzero(h) / len(rows) for h in hidden)]
    return float(sum(3 * a * n * network.weights.itemsize for a, n in zip(active, network.strides[1:], strict=True)))


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
    """GB/s that all threads together read, read again and write, from blocks that no cache holds."""
    blocks = [np.ones(megabytes * 2**20 // 4, np.float32) for _ in range(workers)]
    read_read_write(blocks[0][:16], 1)
    with ThreadPoolExecutor(workers) as pool:
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(lambda block: read_read_write(block, 1), blocks))
            seconds.append(time.perf_counter() - started)
    return workers * 3 * megabytes * 2**20 / median(seconds) / 1e9


def share_of_the_ranks(examples: structures.Examples, name: str, rounds: int) -> tuple[float, float]:
    """At laptop scale: the shares of the time that the effective rank and all metrics together take."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        every = hydra.compose("config", ["scale=laptop"]).metrics.rank_every
    problem = Problem(STREAM, MLP(width=100), LEARNERS[name], Measurements(rank_every=2), EngineOptions())
    run = OnlineRun(problem, examples, 0)
    ranked, unranked, learning = [], [], []
    with limited_threads(1):
        for number in range(3 * rounds):  # a new task each time, as in an experiment
            task = STREAM.task(0, number)
            assert task.permutation is not None
            position = np.argsort(task.permutation)
            ranked.append(microseconds(partial(run.measure, 0, position), 1))
            unranked.append(microseconds(partial(run.measure, 1, position), 1))
            learn = partial(run.learn, task.order, position, np.random.default_rng(0), lambda updates: None)
            learning.append(microseconds(learn, 1))
    rank = (median(ranked) - median(unranked)) / every
    whole = median(unranked) + rank + median(learning)
    return rank / whole, 1 - median(learning) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    parser.add_argument("--widths", type=int, nargs="+", default=list(UPDATES), choices=list(UPDATES))
    parser.add_argument("--network", choices=("mlp", "conv"), default="mlp", help="conv: scripts/bench_conv.py")
    arguments = parser.parse_args()
    if arguments.network == "conv":
        bench_conv.main(arguments.rounds, CONV_WIDTHS)
        return
    workers = cores()
    examples = sparse_examples(Problem(STREAM, MLP(), LEARNERS["bp"], Measurements(), EngineOptions()))
    print(f"{platform.machine()}, {workers} cores, torch {torch.__version__}; medians of {arguments.rounds} rounds")
    print(f"microseconds for one update of one run; online: {workers} runs on {workers} threads, plain: one run\n")
    heads = ("width", "learner", f"plain, {workers} threads", "plain, 1 thread", "online", "times faster", "bar")
    print("".join(head.rjust(18 if i > 1 else 8) for i, head in enumerate(heads)))
    contests = []
    for width in arguments.widths:
        for name in arguments.learners:
            c = contest(width, name, arguments.rounds, workers, examples)
            contests.append(c)
            times = "".join(f"{median(t):18.2f}" for t in (c.plain, c.plain_one_thread, c.online))
            print(f"{width:8}{name:>8}{times}{c.ratio:18.1f}{BARS[width].get(name, '-'):>18}", flush=True)
    speed = bandwidth(workers)
    print(f"\nmemory: {speed:.1f} GB/s (reading twice and writing once, {workers} threads, 256 MiB each)")
    for c in contests:
        if c.width == 2000 and c.learner in ("bp", "cbp"):
            reached = c.bytes_per_update / median(c.online) / 1e3
            print(f"  width 2000, {c.learner}: {c.bytes_per_update / 1e6:.1f} MB an update, {reached:.1f} GB/s, "
                  f"{reached / speed:.0%} of that")  # fmt: skip
    for name in ("bp", "cbp"):
        rank, every = share_of_the_ranks(examples, name, arguments.rounds)
        print(f"laptop scale, {name}: effective rank {rank:.1%} of the time, all metrics {every:.1%}")


if __name__ == "__main__":
    main()
