"""Milliseconds for one update of one run on the paper's convolutional network: python scripts/bench.py --network conv

On a CPU, as many runs as cores, a thread each, within one process and in one each, against a plain PyTorch loop that
has all cores for one run. On a GPU, 1, 8 and 30 runs at once against the plain loop there. The contestants take turns,
as in bench.py.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median

import numpy as np
import torch
from torch import nn

from cbp_experiments.engines import EngineOptions, Problem, cores, limited_threads
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.learners import Learner
from cbp_experiments.measurements import Measurements
from cbp_experiments.networks import ConvNet
from cbp_experiments.seeding import task_key
from cbp_experiments.streams import Stream, Task
from cbp_experiments.streams.continual_imagenet import ContinualImageNet

BAR = 0.85  # of the plain loop's time
UPDATES = 24  # a round
LEARNERS = {
    "bp": Learner(name="bp", step_size=0.01, momentum=0.9),
    "cbp": Learner(name="cbp", step_size=0.01, momentum=0.9, replacement_rate=3e-4),
}


class PlainConvRun:
    """nn.Sequential, autograd, torch.optim.SGD; the images of the task are on the device in float32."""

    def __init__(self, width: int, stream: Stream, task: Task, device: torch.device):
        assert task.examples is not None
        self.x = (torch.from_numpy(task.examples.images).to(device).float() * stream.scale).view(-1, 3, 32, 32)
        self.y = torch.from_numpy(task.examples.labels).to(device)
        self.network = nn.Sequential(
            nn.Conv2d(3, width // 4, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width // 4, width // 2, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width // 2, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(4 * width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2),
        ).to(device)  # fmt: skip
        self.sgd = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9)

    def learn(self, batches: Sequence[np.ndarray | torch.Tensor]) -> None:
        for batch in batches:
            rows = torch.as_tensor(batch).to(self.x.device)
            loss = nn.functional.cross_entropy(self.network(self.x[rows]), self.y[rows])
            self.sgd.zero_grad()
            loss.backward()
            self.sgd.step()


def contests(width: int, rounds: int, device: torch.device) -> None:
    """Measure BP and CBP at one width and print a line each."""
    stream = ContinualImageNet(tasks=1, epochs=2, source="synthetic", synthetic_classes=2).load()
    stream = stream.shortened(UPDATES * stream.batch_size)
    task = stream.task(0, 0)
    batches = np.split(task.order, UPDATES)
    plain = PlainConvRun(width, stream, task, device)
    together = device.type != "cpu"
    for runs in (1, 8, 30) if together else (cores(),):
        for name, learner in LEARNERS.items():
            options = EngineOptions(device=str(device))
            problem = Problem(stream, ConvNet(width), learner, Measurements(features=[]), options)
            seeds = [list(range(runs))] if together else [[seed] for seed in range(runs)]
            ours, apart, theirs = take_turns(problem, seeds, lambda: plain.learn(batches), rounds, not together)
            ours, apart, theirs = ours / UPDATES / runs, apart / UPDATES / runs, theirs / UPDATES
            print(
                f"{width:8}{name:>8}{runs:>8}{theirs:16.2f}{ours:16.2f}{apart:16.2f}{ours / theirs:16.2f}{BAR:>8}",
                flush=True,
            )


_work: Callable[[], None]  # of a process of its own


def _prepare(problem: Problem, seeds: list[int]) -> None:
    global _work
    _work = updates_of(Ensemble(problem, seeds))


def _do_work() -> None:
    _work()


def updates_of(group: Ensemble) -> Callable[[], None]:
    """All updates of a task, without the metrics before it and the tests after it."""
    tasks = [group.problem.stream.task(seed, 0) for seed in group.seeds]
    shown = group.show(tasks)
    order = shown.rows(task.order for task in tasks)
    group.step.begin_task([task_key(seed, 0) for seed in group.seeds])

    def work() -> None:
        torch.set_num_threads(1)  # of this thread
        group.learn(shown, order, lambda updates: None)

    return work


def take_turns(
    problem: Problem, seeds: list[list[int]], plain: Callable[[], None], rounds: int, processes: bool
) -> tuple[float, float, float]:
    """Milliseconds of our groups, each on a thread; each in a process (NaN if not wanted); of the plain loop: medians.

    `seeds`: those of each group.
    """
    works = [updates_of(Ensemble(problem, group)) for group in seeds]
    ours, apart, theirs = [], [], []
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in seeds]
        context = multiprocessing.get_context("spawn")
        others = [
            stack.enter_context(ProcessPoolExecutor(1, context, _prepare, (problem, group)))
            for group in seeds
            if processes
        ]
        all_at_once(threads, works)  # warm up
        all_at_once(others, [_do_work] * len(others))
        plain()
        for _ in range(rounds):
            with limited_threads(cores()):
                theirs.append(milliseconds(plain))
            with limited_threads(1):
                ours.append(milliseconds(lambda: all_at_once(threads, works)))
                apart.append(milliseconds(lambda: all_at_once(others, [_do_work] * len(others))))
    return median(ours), median(apart) if processes else float("nan"), median(theirs)


def all_at_once(executors: Sequence[Executor], works: list[Callable[[], None]]) -> None:
    for done in [executor.submit(work) for executor, work in zip(executors, works, strict=True)]:
        done.result()


def milliseconds(work: Callable[[], object]) -> float:
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return (time.perf_counter() - started) * 1e3


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(rounds: int, widths: list[int]) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(
        f"{device}, {cores()} cores, torch {torch.__version__}; medians of {rounds} rounds of {UPDATES} updates of 100"
    )
    print("milliseconds for one update of one run\n")
    heads = ("plain, one run", "ours", "in processes", "ours / plain")
    print(f"{'width':>8}{'learner':>8}{'runs':>8}{''.join(head.rjust(16) for head in heads)}{'bar':>8}")
    for width in widths:
        contests(width, rounds, device)
