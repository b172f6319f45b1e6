"""Time for one update of one run on a GPU, 1, 8 and 30 runs at once, against the plain PyTorch loop there:
make bench DEVICE=cuda

The contestants take turns, and all begin with fresh weights. "launched" is the ensemble engine kernel by kernel
(engine.graph=off), "graph" its CUDA graph. After the table, the kernels that take most of the time are listed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median

import bench_conv
import bench_online
import torch
from plain_loop import PlainRun
from problem_of import problem_of
from torch.profiler import ProfilerActivity, profile

from cbp_experiments.engines import Problem
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.networks import MLP

RUNS = (1, 8, 30)
UPDATES = 100  # per round
KERNELS = 6  # listed for each problem
HEADS = ("network", "width", "learner", "runs", "plain", "launched", "graph", "times faster")


def problems(device: str) -> Iterator[tuple[Problem, Callable[[], object]]]:
    """Yield each problem with UPDATES updates of the plain loop."""
    for width in (100, 2000):
        for learner in ("bp", "cbp", "snp"):
            problem = problem_of(f"learner={learner}", f"network.width={width}", *bench_online.SETTINGS)
            stream = problem.stream.shortened(UPDATES)
            order = stream.task(0, 0).order
            x = (torch.from_numpy(stream.images[order]).float() * stream.scale).to(device)
            y = torch.from_numpy(stream.labels[order]).to(device)
            plain = PlainRun(problem.learner, problem.network, problem.inputs, stream.classes).to(device)
            yield replace(problem, stream=stream), partial(plain.learn, x, y)
    for learner in ("bp", "cbp"):
        problem = problem_of(f"learner={learner}", "network.width=128", *bench_conv.SETTINGS, "data.epochs=20")
        problem = replace(problem, stream=problem.stream.shortened(UPDATES * problem.stream.batch_size))
        yield problem, bench_conv.plain_updates(problem, device)


def main(rounds: int, device: str) -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; medians of {rounds} rounds of {UPDATES} updates")
    print("microseconds for one update of one run\n")
    print("".join(head.rjust(14 if i > 3 else 8) for i, head in enumerate(HEADS)))
    found = []
    for problem, plain in problems(device):
        problem = replace(problem, options=replace(problem.options, name="ensemble", device=device))
        found.append((problem, contest(problem, plain, rounds)))
    for problem, work in found:
        print(f"\n{_named(problem)}, {RUNS[-1]} runs: the kernels that take most of the time")
        print_kernels(work)


def contest(problem: Problem, plain: Callable[[], object], rounds: int) -> Callable[[], object]:
    """Print a line for each number of runs. Returns the updates of the last one, by graph."""
    plain()
    for runs in RUNS:
        options = [replace(problem.options, graph=graph) for graph in ("off", "auto")]
        works = [bench_conv.updates_of(Ensemble(replace(problem, options=o), range(runs))) for o in options]
        for work in works:
            work()  # captures the graph
        times: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            for contestant, work in zip(times, (plain, *works), strict=True):
                contestant.append(microseconds(work))
        theirs, launched, graph = (median(t) / UPDATES for t in times)
        launched, graph = launched / runs, graph / runs
        print(f"{_named(problem)}{runs:8}{theirs:14.1f}{launched:14.1f}{graph:14.1f}{theirs / graph:14.1f}", flush=True)
    return works[1]


def microseconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e6


def print_kernels(work: Callable[[], object]) -> None:
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
