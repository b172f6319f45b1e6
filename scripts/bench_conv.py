"""The rows of bench.py for Continual ImageNet: the ensemble engine, on synthetic images of the same size."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median

import torch
from bench_online import microseconds
from plain_loop import PlainRun
from problem_of import problem_of
from timing import Timing

from cbp_experiments.engines import Problem, cores, limited_threads
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.errors import ConfigError
from cbp_experiments.networks import ConvNet
from cbp_experiments.networks.conv import COLOURS, KERNELS
from cbp_experiments.seeding import task_key

WIDTHS = (32, 128)
UPDATES = 24  # per round
BATCH, SIDE = 100, 32
SETTINGS = ("data=continual_imagenet", "scale=laptop", "data.source=synthetic", "data.tasks=1", "data.epochs=5")


def contest(name: str, width: int, rounds: int) -> Iterator[Timing]:
    try:
        problem = conv_problem(f"learner={name}", f"network.width={width}")
    except ConfigError as error:
        print(f"{'conv':>8}{width:8}{name:>12}   not measured: {error}")
        return
    if problem.network.depth == 0 and width != WIDTHS[0]:
        return
    plain = plain_updates(problem)
    groups = [updates_of(Ensemble(problem, [seed])) for seed in range(cores())]
    times: list[list[float]] = [[], [], []]
    with ExitStack() as stack:
        threads: list[Executor] = [stack.enter_context(ThreadPoolExecutor(1)) for _ in groups]
        all_at_once(threads, groups)  # warm up
        plain()
        for _ in range(rounds):
            for count, of in ((cores(), times[0]), (1, times[1])):
                with limited_threads(count):
                    of.append(microseconds(plain, UPDATES))
            with limited_threads(1):
                times[2].append(microseconds(lambda: all_at_once(threads, groups), UPDATES * len(groups)))
    with_all, with_one, ours = map(median, times)
    yield Timing("conv", width, name, min(with_all, with_one), ours)


def conv_problem(*overrides: str) -> Problem:
    problem = problem_of(*SETTINGS, *overrides)
    stream = problem.stream.shortened(UPDATES * problem.stream.batch_size)
    return Problem(stream, problem.network, problem.learner, problem.measurements, problem.options)


def plain_updates(problem: Problem, device: str = "cpu") -> Callable[[], object]:
    """Return UPDATES updates of the plain loop, whose images are on the device in float32."""
    stream = problem.stream
    task = stream.task(0, 0)
    assert task.examples is not None
    images = (torch.from_numpy(task.examples.images[task.order]).float() * stream.scale).to(device)
    labels = torch.from_numpy(task.examples.labels[task.order]).to(device)
    if problem.network.depth:
        side = round((images.shape[1] / COLOURS) ** 0.5)
        images = images.view(-1, COLOURS, side, side)
    plain = PlainRun(problem.learner, problem.network, problem.inputs, stream.classes).to(device)
    return lambda: plain.learn(images, labels, stream.batch_size)


def updates_of(group: Ensemble) -> Callable[[], object]:
    """Return all updates of a task, without the metrics before it and the tests after it."""
    tasks = [group.problem.stream.task(seed, 0) for seed in group.seeds]
    shown = group.show(tasks)
    order = shown.rows(task.order for task in tasks)
    group.step.begin_task([task_key(seed, 0) for seed in group.seeds])

    def work() -> None:
        group.learn(shown, order, lambda updates: None)

    return work


def one_thread(work: Callable[[], object]) -> None:
    torch.set_num_threads(1)  # of this thread
    work()


def all_at_once(executors: list[Executor], works: list[Callable[[], object]]) -> None:
    for done in [executor.submit(one_thread, work) for executor, work in zip(executors, works, strict=True)]:
        done.result()


def further(rounds: int, rows: Sequence[Timing]) -> None:
    """Compare one run on one thread with the calls to PyTorch's convolutions that an update makes."""
    with limited_threads(1):
        for width in sorted({row.width for row in rows if row.network == "conv"}):
            works = [calls_of_convolutions(width)]
            for overrides in (["learner=bp"], ["learner=cbp", "learner.replacement_rate=3e-4"]):
                problem = conv_problem(*overrides, "learner.momentum=0.9", f"network.width={width}")
                works.append(updates_of(Ensemble(problem, [0])))
            times: list[list[float]] = [[] for _ in works]
            for turn in range(rounds + 1):
                for work, of in zip(works, times, strict=True):
                    taken = microseconds(work, UPDATES)
                    if turn:  # the first one warms up
                        of.append(taken)
            calls, *ours = times
            bp, cbp = (median(a / b for a, b in zip(taken, calls, strict=True)) for taken in ours)
            print(f"conv {width}, one run, one thread: convolutions alone {median(calls):.0f} microseconds, "
                  f"x {bp:.2f} bp, x {cbp:.2f} cbp")  # fmt: skip


def calls_of_convolutions(width: int) -> Callable[[], object]:
    """Forward and backward passes of an update's convolutions, UPDATES times, channels last, without the rest."""
    network, side, layers = ConvNet(width), SIDE, []
    for out, channels, kernel, _ in network.shapes(COLOURS * SIDE**2, 2)[: len(KERNELS)]:
        x, weight = torch.randn(BATCH, channels, side, side), torch.randn(out, channels, kernel, kernel)
        bias = torch.randn(out)
        side += 1 - kernel
        gradient = torch.randn(BATCH, out, side, side)
        x, gradient = (maps.contiguous(memory_format=torch.channels_last) for maps in (x, gradient))
        layers.append((x, weight, bias, gradient))
        side //= 2

    @torch.no_grad()
    def work() -> None:
        for _ in range(UPDATES):
            for x, weight, bias, _ in layers:
                torch.conv2d(x, weight, bias)
            for x, weight, bias, gradient in reversed(layers):
                wanted = [x.shape[1] != COLOURS, True, True]  # the gradient of the images is not needed
                torch.ops.aten.convolution_backward(
                    gradient, x, weight, [len(bias)], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, wanted
                )

    return work
