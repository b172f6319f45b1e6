"""Estimates how long tasks take, from short trials with separate networks."""

import time
from collections.abc import Sequence
from dataclasses import replace

from cbp_experiments.engines import Engine, Problem, limited_threads
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.streams import examples_of

TRIAL_SECONDS = 0.3


def estimate(problem: Problem, engine: Engine, seeds: Sequence[int], left: Sequence[int]) -> float:
    """Estimate the seconds for the remaining tasks of runs; left: how many tasks each run still has.

    A task costs one measurement, and updates, whose time is the difference between a long and a short trial.
    """
    at_once = min(engine.workers, len(seeds))
    seeds = seeds if engine.together else seeds[:1]
    stream = problem.stream
    short = long = min(8 * stream.batch_size, stream.task_length)
    bare = replace(problem, measurements=Measurements(features=[]))
    with limited_threads(engine.threads):
        for each in (bare, problem):
            seconds_of_a_task(each, engine, seeds, short)  # compiles
        measuring = seconds_of_a_task(problem, engine, seeds, short)
        base, learning = seconds_of_a_task(bare, engine, seeds, short), 0.0
        while learning < TRIAL_SECONDS and long < stream.task_length:
            long = min(4 * long, stream.task_length)
            learning = max(seconds_of_a_task(bare, engine, seeds, long) - base, 0.0)
    an_example = learning / (long - short) if long > short else 0.0
    whole = examples_of(stream, stream.tasks)
    tasks, examples = sum(left), sum(whole - examples_of(stream, stream.tasks - n) for n in left)
    return (tasks * measuring + an_example * (examples - tasks * short)) / len(seeds) / at_once


def seconds_of_a_task(problem: Problem, engine: Engine, seeds: Sequence[int], task_length: int) -> float:
    group = engine.new_group(replace(problem, stream=problem.stream.shortened(task_length)), seeds)
    started = time.perf_counter()
    group.run_task(0, lambda updates: None)
    return time.perf_counter() - started
