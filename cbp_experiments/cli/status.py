"""Prints the progress of an experiment: `python -m cbp_experiments status`, then what trains it; writes nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from cbp_experiments.cli.compose import distinctions
from cbp_experiments.engines import Engine, Problem
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import FINISHED, how_to_rename, misnamed, numbers_of, older_runs, recorded
from cbp_experiments.results.provenance import NUMBERS
from cbp_experiments.training.estimate import estimate
from cbp_experiments.training.job import Job, build_job
from cbp_experiments.training.runner import Loaded, plan
from cbp_experiments.training.runs import Run
from cbp_experiments.words import count, duration, some

STATES = ("complete", "incomplete", "diverged", "damaged", "missing")


def report(configs: list[tuple[str, DictConfig]]) -> int:
    """Print the state of every job and of all together. Returns 0 if all runs are complete, else 1."""
    totals, seconds = Counter[str](), 0.0
    folders: dict[Path, list[Path]] = defaultdict(list)
    jobs, loaded = [build_job(config) for _, config in configs], Loaded()
    for differing, job in zip(distinctions([overrides for overrides, _ in configs]), jobs, strict=True):
        problem, engine, runs = plan(job, loaded(job))
        states = {run.name: state_of(run) for run in runs}
        left = time_left(job, problem, engine, [run for run in runs if states[run.name] != "damaged"])
        name = ", ".join([str(job.results_dir / job.experiment), *differing])
        print(f"{name}: {_counts(Counter(states.values()))}{_left(left)}")
        for run in runs:
            if states[run.name] in ("incomplete", "diverged"):
                at = f"{run.folder.progress()[0]} of {run.tasks} tasks done"
                print(f"  {states[run.name]}: {run.name}, {at}{', in progress' if run.folder.in_progress() else ''}")
        if damaged := [str(run.folder.path) for run in runs if states[run.name] == "damaged"]:
            print(f"  damaged: {', '.join(damaged)}; delete the folder, and the command trains that run again")
        if missing := [run.name for run in runs if states[run.name] == "missing"]:
            print(f"  missing: {', '.join(missing)}")
        folders[job.results_dir / job.experiment] += [run.folder.path for run in runs]
        totals.update(states.values())
        seconds += left
    for folder, paths in folders.items():
        for line in remarks(folder, paths):
            print(line)
    print(f"{count(totals.total(), 'run')}: {_counts(totals)}{_left(seconds)}")
    return 0 if totals["complete"] == totals.total() else 1


def state_of(run: Run) -> str:
    """Return one of STATES. Raises ConfigError if the folder cannot be read."""
    if run.tabled:
        return "complete"
    try:
        return run.folder.status() or "missing"
    except ConfigError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return "damaged"


def remarks(folder: Path, runs: Sequence[Path]) -> list[str]:
    """List remarks on an experiment: runs named by an older version, copies, and versions of the numerics."""
    lines = []
    if older := older_runs(folder):
        found = f"{count(len(older), 'run')} in {folder} named by an older version"
        lines.append(f"{found}, not counted here; rename with: {how_to_rename(folder)}")
    if strangers := misnamed(folder):
        why = "not named after their run (copies, or renamed)"
        lines.append(f"{folder}: not counted, because they are {why}: {some(strangers)}")
    versions = Counter(numbers_of(facts) for path in runs if (facts := recorded(path)))
    if versions.keys() - {NUMBERS}:
        parts = [f"{count(number, 'run')} of version {version}" for version, number in sorted(versions.items())]
        lines.append(
            f"{folder}: {', '.join(parts)} of the numerics; this is version {NUMBERS} (CHANGELOG.md says what moved)"
        )
    return lines


def time_left(job: Job, problem: Problem, engine: Engine, runs: list[Run]) -> float:
    """Estimate the seconds that `runs` still need, from their speed so far, or from a trial if they have none."""
    done = [run.folder.progress() for run in runs]
    finished = [run.tabled or run.folder.status() in FINISHED for run in runs]
    left = [run.tasks - tasks for run, (tasks, _), over in zip(runs, done, finished, strict=True) if not over]
    if not left:
        return 0.0
    tasks, seconds = map(sum, zip(*done, strict=True))
    if not tasks:
        return estimate(problem, engine, job.seeds, left)
    return seconds / tasks * (max(left) if engine.together else sum(left) / min(engine.workers, len(left)))


def _counts(states: Counter[str]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in STATES if states[state])


def _left(seconds: float) -> str:
    return f"; about {duration(max(seconds, 1))} left" if seconds else ""
