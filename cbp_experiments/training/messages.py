"""Messages before and after a job: what will run, on what and for how long; then the results."""

from collections.abc import Sequence

from cbp_experiments.engines import Engine, Problem
from cbp_experiments.results import load_experiment, numbers_of, recorded
from cbp_experiments.results.naming import flatten
from cbp_experiments.results.provenance import NUMBERS
from cbp_experiments.results.tuned import SETTINGS, read_choice, tuning_folder
from cbp_experiments.streams import Stream, lengths, updates_of
from cbp_experiments.training.estimate import estimate
from cbp_experiments.training.job import Job
from cbp_experiments.training.runs import DONE
from cbp_experiments.words import count, duration

SIZE_KEYS = ("data.source", "data.task_length", "data.epochs", "data.batch_size", "network.width", "network.depth")


def announce(job: Job, problem: Problem, engine: Engine, runs: Sequence[tuple[str, str, int]]) -> float | None:
    """Print the plan. Returns the estimated seconds, or None if there is nothing to do.

    runs: (name, "new" | "continued" | "finished" | "tabled", tasks done) for each seed.
    """
    stream = problem.stream
    to_do = [done for _, status, done in runs if status not in DONE]
    seeds, threads = _span(job.seeds), count(engine.workers * engine.threads, "thread")
    print(f"\n{job.experiment}: {job.learner.name}, {count(len(runs), 'run')} (seeds {seeds})")
    print(f"  data     {stream.description}; {stream.tasks} tasks of {_lengths(stream)} examples")
    print(f"  network  {problem.network.describe(problem.inputs, stream.classes)}")
    print(f"  engine   {engine.name} on {engine.device} ({engine.reason}), {threads}")
    if job.tuned and not job.tune and (elsewhere := _tuned_elsewhere(job)):
        print(f"  tuned    {job.tuned} was chosen with {elsewhere}")
    for name, status, done in runs:
        if status == "continued":
            print(f"  continued {f'after task {done}' if done else 'within task 1'}: {name}")
    finished = [name for name, status, _ in runs if status == "finished"]
    if finished:
        print(f"  already finished; skipped (force=true trains them again): {', '.join(finished)}")
    tabled = sum(status == "tabled" for _, status, _ in runs)
    if tabled:
        print(f"  already in {SETTINGS}: {count(tabled, 'run')}; skipped (force=true trains them again)")
    made_by = {name: numbers_of(recorded(job.results_dir / job.experiment / name) or {}) for name in finished}
    for version in sorted({*made_by.values()} - {NUMBERS}):
        names = ", ".join(name for name in finished if made_by[name] == version)
        print(f"  made by version {version} of the numerics, this is {NUMBERS} (CHANGELOG.md says what moved): {names}")
    if not to_do:
        return None
    left = [stream.tasks - done for done in to_do]
    seconds = estimate(problem, engine, job.seeds[: len(to_do)], left)
    print(
        f"  to do    {sum(updates_of(stream, done) for done in to_do):,} updates, about {duration(max(seconds, 1))}",
        flush=True,
    )
    return seconds


def conclude(job: Job, names: Sequence[str]) -> None:
    """Print the table of the job's finished runs, and their folder."""
    from cbp_experiments.analysis.tenths import table  # needs pandas

    folder = job.results_dir / job.experiment
    if names:
        print(table(load_experiment(folder, runs=names)))
    print(f"results in {folder}", flush=True)


def _tuned_elsewhere(job: Job) -> str:
    """Describe in which sizes the tuning differs from the job; empty if in none."""
    choice = read_choice(tuning_folder(job.results_dir, job.tuned or "", job.learner.name))
    ours = dict(flatten(job.sections))
    return ", ".join(
        f"{key}={value} ({ours.get(key)} here)" for key, value in choice.size.items() if ours.get(key) != value
    )


def _lengths(stream: Stream) -> str:
    shortest, longest = min(lengths(stream)), max(lengths(stream))
    return f"{longest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"


def _span(seeds: Sequence[int]) -> str:
    counted = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2
    return f"{seeds[0]}-{seeds[-1]}" if counted else ", ".join(map(str, seeds))
