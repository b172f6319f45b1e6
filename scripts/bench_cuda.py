"""Time for one update of one run on a GPU, 1, 8 and 30 runs at once, against the plain PyTorch loop there:
make bench DEVICE=cuda

The contestants take turns, and all begin with fresh weights. "launched" is the ensemble engine kernel by kernel
(engine.graph=off), "graph" its CUDA graph; the plain loop of the convolutional network is BP. The kernels that take
most of the time follow.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
from bench_conv import PlainConvRun
from plain_loop import PlainRun
from torch.profiler import ProfilerActivity, profile

from cbp_experiments.engines import EngineOptions, Problem
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.learners import Learner
from cbp_experiments.measurements import Measurements
from cbp_experiments.networks import MLP, ConvNet
from cbp_experiments.seeding import task_key
from cbp_experiments.streams.continual_imagenet import ContinualImageNet
from cbp_experiments.streams.permuted_mnist import PermutedMNIST

RUNS = (1, 8, 30)
UPDATES = 100  # a round
KERNELS = 6  # listed of each problem
HEADS = ("network", "width", "learner", "runs", "plain", "launched", "graph", "times faster")


def problems(device: str) -> Iterator[tuple[Problem, Callable[[], None]]]:
    """Each with UPDATES updates of the plain loop."""
    options = EngineOptions(device=device)
    stream = PermutedMNIST(tasks=1, task_length=5000).load().shortened(UPDATES)
    order = stream.task(0, 0).order
    x = (torch.from_numpy(stream.images[order]).float() * stream.scale).to(device)
    y = torch.from_numpy(stream.labels[order]).to(device)
    bp = Learner(name="bp", step_size=0.003)
    learners = [bp, replace(bp, name="cbp", replacement_rate=1e-4)]
    learners += [replace(bp, name="snp", weight_decay=1e-4, perturbation_std=1e-5)]
    for width in (100, 2000):
        for learner in learners:
            plain = PlainRun(learner, width).to(device)
            yield (
                Problem(stream, MLP(width), learner, Measurements(features=[]), options),
                lambda plain=plain: plain.learn(x, y),  # type: ignore[misc]
            )
    images = ContinualImageNet(tasks=1, epochs=20, source="synthetic", synthetic_classes=2).load()
    images = images.shortened(UPDATES * images.batch_size)
    task = images.task(0, 0)
    bp = Learner(name="bp", step_size=0.01, momentum=0.9)
    batches = [torch.from_numpy(batch).to(device) for batch in task.order.reshape(UPDATES, -1)]
    for learner in (bp, replace(bp, name="cbp", replacement_rate=3e-4)):
        conv = PlainConvRun(128, images, task, torch.device(device))
        yield (
            Problem(images, ConvNet(128), learner, Measurements(features=[]), options),
            lambda conv=conv: conv.learn(batches),  # type: ignore[misc]
        )


def main(rounds: int, device: str) -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; medians of {rounds} rounds of {UPDATES} updates")
    print("microseconds for one update of one run\n")
    print("".join(head.rjust(14 if i > 3 else 8) for i, head in enumerate(HEADS)))
    found = []
    for problem, plain in problems(device):
        found.append((problem, contest(problem, plain, rounds)))
    for problem, work in found:
        print(f"\n{_named(problem)}, {RUNS[-1]} runs: the kernels that take most of the time")
        print_kernels(work)


def contest(problem: Problem, plain: Callable[[], None], rounds: int) -> Callable[[], None]:
    """A line for each number of runs. Returns the updates of the last one, by graph."""
    plain()
    for runs in RUNS:
        works = [updates_of(replace(problem, options=replace(problem.options, graph=g)), runs) for g in ("off", "auto")]
        times: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            for contestant, work in zip(times, (plain, *works), strict=True):
                contestant.append(microseconds(work))
        theirs, launched, graph = (median(t) / UPDATES for t in times)
        launched, graph = launched / runs, graph / runs
        print(f"{_named(problem)}{runs:8}{theirs:14.1f}{launched:14.1f}{graph:14.1f}{theirs / graph:14.1f}", flush=True)
    return works[1]


def updates_of(problem: Problem, runs: int) -> Callable[[], None]:
    """UPDATES updates of so many runs, without the metrics before a task; the graph is captured already."""
    group = Ensemble(problem, range(runs))
    tasks = [group.problem.stream.task(seed, 0) for seed in group.seeds]
    shown = group.show(tasks)
    order = shown.rows(task.order for task in tasks)
    group.step.begin_task([task_key(seed, 0) for seed in group.seeds])

    def work() -> None:
        group.learn(shown, order, lambda updates: None)

    work()
    return work


def microseconds(work: Callable[[], None]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e6


def print_kernels(work: Callable[[], None]) -> None:
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    kernels = [event for event in profiler.key_averages() if event.self_device_time_total]
    total = sum(event.self_device_time_total for event in kernels)
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:KERNELS]:
        share, calls = event.self_device_time_total / total, event.count / UPDATES
        print(f"{share:8.1%}{event.self_device_time_total / UPDATES:10.1f} us{calls:8.1f} calls  {event.key[:90]}")
    print(f"{'':8}{total / UPDATES:10.1f} us in all an update")


def _named(problem: Problem) -> str:
    network = "mlp" if isinstance(problem.network, MLP) else "conv"
    return f"{network:>8}{problem.network.width:8}{problem.learner.name:>8}"
