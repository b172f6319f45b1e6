"""The two engines: which one trains a problem, and the groups of runs that it advances."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import torch
from threadpoolctl import threadpool_limits

from cbp_experiments.engines.abilities import refusal
from cbp_experiments.engines.base import EngineOptions, Group, Problem, Row, State
from cbp_experiments.engines.ensemble import Ensemble, choose_device
from cbp_experiments.engines.graphs import takes_graphs
from cbp_experiments.errors import ConfigError

__all__ = ["Engine", "EngineOptions", "Group", "Problem", "Row", "State", "choose_engine", "cores", "limited_threads"]


@dataclass(frozen=True)
class Engine:
    """The engine chosen for a problem, and how it spreads the runs.

    `together`: all runs advance at once in one group; otherwise each run is a group of its own. `workers` groups
    advance at the same time, each with `threads` PyTorch threads. `new_group` takes the problem that the engine was
    chosen for, or one that differs from it only in length and metrics.
    """

    name: str
    device: str
    reason: str
    together: bool
    workers: int
    threads: int
    new_group: Callable[[Problem, Sequence[int]], Group]


def choose_engine(problem: Problem) -> Engine:
    """Choose the engine that `engine=` asks for; auto takes the online engine if it can train the problem.

    Raises ConfigError, with the reason, if the requested engine cannot train it or if none can.
    """
    asked, workers = problem.options.name, problem.options.workers or cores()
    refused = {name: refusal(name, problem) for name in ("online", "ensemble")}
    if all(refused.values()):
        raise ConfigError("no engine can do this: " + "; ".join(f"{name}: {why}" for name, why in refused.items()))
    if why := refused.get(asked):
        other = next(name for name in refused if name != asked)
        raise ConfigError(f"engine={asked} cannot do this: {why}. Take engine={other} or engine=auto")
    if asked == "ensemble" or refused["online"]:
        device = choose_device(problem.options.device)
        reason = "as asked" if asked == "ensemble" else f"auto, not online: {refused['online']}"
        if device.type == "cuda":
            graph = takes_graphs(device, problem.options, problem.learner)
            reason += "; an update is a CUDA graph" if graph else "; updates kernel by kernel"
            if not graph and problem.options.graph == "auto":
                reason += ", because a mechanism of the learner does not say that it is capturable"
        if device.type == "cpu" and problem.network.fills_a_core:
            return Engine("ensemble", str(device), reason, False, workers, 1, Ensemble)
        return Engine("ensemble", str(device), reason, True, 1, workers, Ensemble)
    from cbp_experiments.engines import arrays, online  # imports numba, so only when needed

    examples = cache(partial(arrays.sparse_examples, problem))  # made when the first run begins
    reason = "as asked" if asked == "online" else "auto: mini-batch 1 on the CPU"
    return Engine(
        "online",
        "cpu",
        reason,
        False,
        workers,
        1,
        lambda problem, seeds: online.OnlineRun(problem, examples(), seeds[0]),
    )


def cores() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limit PyTorch and the BLAS libraries to `threads` threads in this process."""
    before = torch.get_num_threads()
    with threadpool_limits(threads, "blas"):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
