"""What the user reads before and after a job: what will run, on what, for how long; what came of it."""

import time
from collections.abc import Sequence
from dataclasses import replace

from cbp_experiments.config import Job
from cbp_experiments.engines import Engine, Problem, limited_threads
from cbp_experiments.measurements import Measurements
from cbp_experiments.provenance import NUMBERS
from cbp_experiments.results import load_experiment, numbers_of, recorded
from cbp_experiments.results.tuned import SETTINGS
from cbp_experiments.runs import DONE
from cbp_experiments.words import count, duration

TRIAL_SECONDS = 0.3


def announce(job: Job, problem: Problem, engine: Engine, runs: Sequence[tuple[str, str, int]]) -> float | None:
    """Print the plan; returns the estimated seconds, or None where there is nothing to do.

    `runs` holds (name, "new" | "continued" | "finished before" | "tabled", tasks done) for each seed.
    """
    stream = problem.stream
    tasks_left = sum(stream.tasks - done for _, status, done in runs if status not in DONE)
    updates = -(-stream.task_length // stream.batch_size)
    seeds, threads = _span(job.seeds), count(engine.workers * engine.threads, "thread")
    print(f"\n{job.experiment}: {job.learner.name}, {count(len(runs), 'run')} (seeds {seeds})")
    print(f"  data     {stream.description}; {stream.tasks} tasks of {stream.task_length:,} examples")
    print(f"  network  {problem.network.describe(problem.inputs, stream.classes)}")
    print(f"  engine   {engine.name} on {engine.device} ({engine.reason}), {threads}")
    for name, status, done in runs:
        if status == "continued":
            print(f"  continued {f'after task {done}' if done else 'within task 1'}: {name}")
    finished = [name for name, status, _ in runs if status == "finished before"]
    if finished:
        print(f"  finished before, not trained again (force=true would): {', '.join(finished)}")
    tabled = sum(status == "tabled" for _, status, _ in runs)
    if tabled:
        print(f"  already in {SETTINGS}: {count(tabled, 'run')}; skipped (force=true trains them again)")
    made_by = {name: numbers_of(recorded(job.results_dir / job.experiment / name) or {}) for name in finished}
    for version in sorted({*made_by.values()} - {NUMBERS}):
        names = ", ".join(name for name in finished if made_by[name] == version)
        print(f"  made by version {version} of the numerics, this is {NUMBERS} (CHANGELOG.md says what moved): {names}")
    if not tasks_left:
        return None
    seconds = estimate(problem, engine, job.seeds[: len(runs) - len(finished) - tabled], tasks_left)
    print(f"  to do    {tasks_left * updates:,} updates, about {duration(max(seconds, 1))}", flush=True)
    return seconds


def conclude(job: Job, names: Sequence[str]) -> None:
    """Print the table of the job's finished runs and where they lie."""
    from cbp_experiments.summary import table  # pandas: when there is something to show

    folder = job.results_dir / job.experiment
    if names:
        print(table(load_experiment(folder, runs=names)))
    print(f"results in {folder}", flush=True)


def estimate(problem: Problem, engine: Engine, seeds: Sequence[int], tasks: int) -> float:
    """Seconds for `tasks` tasks of one run in all, by short trials with networks of their own.

    A task costs its measuring, once, and its updates, by the difference of a long and a short trial.
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
    return tasks * (measuring + an_example * (stream.task_length - short)) / len(seeds) / at_once


def seconds_of_a_task(problem: Problem, engine: Engine, seeds: Sequence[int], task_length: int) -> float:
    group = engine.new_group(replace(problem, stream=problem.stream.shortened(task_length)), seeds)
    started = time.perf_counter()
    group.run_task(0, lambda updates: None)
    return time.perf_counter() - started


def _span(seeds: Sequence[int]) -> str:
    counted = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2
    return f"{seeds[0]}-{seeds[-1]}" if counted else ", ".join(map(str, seeds))
