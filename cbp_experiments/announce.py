"""What the user reads before and after a job: what will run, on what, for how long; what came of it."""

import time
from collections.abc import Sequence
from dataclasses import replace

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from cbp_experiments.config import Job
from cbp_experiments.engines import Engine, Problem, limited_threads
from cbp_experiments.measurements import Measurements
from cbp_experiments.results import load_experiment
from cbp_experiments.summary import table

TRIAL_SECONDS = 0.3


def announce(job: Job, problem: Problem, engine: Engine, runs: Sequence[tuple[str, str, int]]) -> None:
    """Print the plan. `runs` holds (name, "new" | "continued" | "finished before", tasks done) for each seed."""
    stream = problem.stream
    layers = "-".join(str(n) for n in problem.network.sizes(problem.inputs, stream.classes))
    tasks_left = sum(stream.tasks - done for _, status, done in runs if status != "finished before")
    updates = -(-stream.task_length // stream.batch_size)
    seeds, threads = _span(job.seeds), _count(engine.workers * engine.threads, "thread")
    print(f"\n{_multirun_position()}{job.experiment}: {job.learner.name}, {_count(len(runs), 'run')} (seeds {seeds})")
    print(f"  data     {stream.description}; {stream.tasks} tasks of {stream.task_length:,} examples")
    print(f"  network  {layers}, {problem.network.activation}")
    print(f"  engine   {engine.name} on {engine.device} ({engine.reason}), {threads}")
    for name, status, done in runs:
        if status == "continued":
            print(f"  continued after task {done}: {name}")
    finished = [name for name, status, _ in runs if status == "finished before"]
    if finished:
        print(f"  finished before, not trained again (force=true would): {', '.join(finished)}")
    if tasks_left:
        seconds = estimate(problem, engine, job.seeds[: len(runs) - len(finished)], tasks_left)
        print(f"  to do    {tasks_left * updates:,} updates, about {_duration(seconds)}", flush=True)


def conclude(job: Job, names: Sequence[str]) -> None:
    """Print the table of the job's runs and where they lie."""
    folder = job.results_dir / job.experiment
    frame = load_experiment(folder)
    print(table(frame[frame["run"].isin(names)]))
    print(f"results in {folder}", flush=True)


def estimate(problem: Problem, engine: Engine, seeds: Sequence[int], tasks: int) -> float:
    """Seconds for `tasks` tasks of one run in all, by short trials with networks of their own."""
    seeds = seeds if engine.together else seeds[:1]
    batch, length = problem.stream.batch_size, problem.stream.task_length
    with limited_threads(engine.threads):
        seconds_of_a_task(problem, engine, seeds, batch)  # compiles
        measuring = seconds_of_a_task(problem, engine, seeds, batch)
        bare = replace(problem, measurements=Measurements(features=[]))
        examples = min(8 * batch, length)
        while (learning := seconds_of_a_task(bare, engine, seeds, examples)) < TRIAL_SECONDS and examples < length:
            examples = min(4 * examples, length)
    return tasks * (measuring + learning * length / examples) / len(seeds) / engine.workers


def seconds_of_a_task(problem: Problem, engine: Engine, seeds: Sequence[int], task_length: int) -> float:
    group = engine.new_group(replace(problem, stream=problem.stream.shortened(task_length)), seeds)
    started = time.perf_counter()
    group.run_task(0, lambda updates: None)
    return time.perf_counter() - started


def _multirun_position() -> str:
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is None or hydra.mode != RunMode.MULTIRUN:
        return ""
    return f"[job {hydra.job.num + 1}: {hydra.job.override_dirname}] "


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _span(seeds: Sequence[int]) -> str:
    counted = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2
    return f"{seeds[0]}-{seeds[-1]}" if counted else ", ".join(map(str, seeds))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
