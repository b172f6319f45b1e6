"""Checks all jobs of a command line, then trains them here, one after the other, or through a launcher."""

import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cbp_experiments.cli.compose import BASIC, Composed, distinctions, launch
from cbp_experiments.cli.launched import launched, launching, remove_abandoned
from cbp_experiments.engines import cores
from cbp_experiments.errors import ConfigError
from cbp_experiments.output import guarded
from cbp_experiments.results import Planned, add_to_plan, how_to_rename, older_runs
from cbp_experiments.training.job import Job, build_job
from cbp_experiments.training.messages import announce, conclude
from cbp_experiments.training.runner import Loaded, plan, run_job
from cbp_experiments.training.runs import Run
from cbp_experiments.words import count, duration

SHARING_THE_TERMINAL = (BASIC, "joblib")  # the jobs of other launchers print to files


def run_jobs(composed: list[Composed]) -> None:
    """Check all jobs, train them, and summarize the experiments that they belong to."""
    remove_abandoned()
    jobs = [(job.overrides, build_job(job.config)) for job in composed]
    for folder in dict.fromkeys(job.results_dir / job.experiment for _, job in jobs if not job.force):
        refuse_older(folder)
    if len(jobs) > 1:
        write_plans([(overrides, job) for overrides, job in jobs if not job.tune])
    if any(job.launcher != BASIC for job in composed):
        launch_jobs(composed, jobs)
    else:
        train_one_by_one(jobs)
    for folder in dict.fromkeys(job.results_dir / job.experiment for _, job in jobs if not job.tune):
        if any(folder.glob("*/metrics.csv")):
            summarize(folder)


def train_one_by_one(jobs: list[tuple[str, Job]]) -> None:
    """Train the jobs here, one after the other; if there are several, print the progress after each."""
    if len(jobs) == 1:
        run_job(jobs[0][1])
        return
    loaded = Loaded()
    seconds: list[float] = []  # of the jobs that had something to train
    for number, (overrides, job) in enumerate(jobs, start=1):
        print(f"\n[job {number} of {len(jobs)}: {overrides}]", end="")
        started = time.monotonic()
        if run_job(job, loaded(job)):
            seconds.append(time.monotonic() - started)
        if seconds and number < len(jobs):
            left = (len(jobs) - number) * sum(seconds) / len(seconds)
            print(f"[{number} of {count(len(jobs), 'job')} done, at most about {duration(max(left, 1))} left]")


def refuse_older(folder: Path) -> None:
    """Raise ConfigError if runs in `folder` have names of an older version: they would be trained again."""
    if older := older_runs(folder):
        raise ConfigError(
            f"{folder} has {count(len(older), 'run')} named by an older version, {older[0]} for one, which would be "
            f"trained again; rename first: {how_to_rename(folder)}"
        )


def launch_jobs(composed: list[Composed], jobs: list[tuple[str, Job]]) -> None:
    """Let the launcher train the jobs; if they print elsewhere, print their plans and tables here, too."""
    apart = any(job.launcher not in SHARING_THE_TERMINAL for job in composed)
    if apart:
        for number, (overrides, job) in enumerate(jobs, start=1):
            print(f"\n[job {number} of {len(jobs)}: {overrides}]", end="")
            problem, engine, runs = plan(job)
            announce(job, problem, engine, runs=[(run.name, run.status, run.tasks_done) for run in look_at(runs)])
    with launching() as scratch:
        own = jobs[0][1].results_dir / ".launched" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        sweep_dir = composed[0].sweep_dir or (own if apart else scratch)
        if apart:
            print(f"the output of the jobs is in {sweep_dir}", flush=True)
        launch(train_launched, composed, sweep_dir)
    if apart:
        for _, job in jobs:
            conclude(job, [run.name for run in look_at(plan(job)[-1]) if run.status == "finished"])


def look_at(runs: list[Run]) -> list[Run]:
    for run in runs:
        run.look()
    return runs


def write_plans(jobs: list[tuple[str, Job]]) -> None:
    """Add the runs of a multirun to the plans of its experiments, so that missing runs can be named.

    A job that cannot be planned is skipped here; it raises its error when its turn comes.
    """
    plans: dict[Path, dict[str, Planned]] = defaultdict(dict)
    loaded = Loaded()
    for (_, job), differing in zip(jobs, distinctions([overrides for overrides, _ in jobs]), strict=True):
        values = [text for text in differing if not text.startswith(("learner=", "experiment="))]
        setting = ", ".join([job.learner.name, *values])
        with suppress(ConfigError):
            for run in plan(job, loaded(job))[-1]:
                entry = Planned(setting=setting, seed=run.config["seed"], scale=job.scale)
                plans[run.folder.path.parent][run.name] = entry
    for folder, runs in plans.items():
        add_to_plan(folder, runs)


def summarize(folder: Path) -> None:
    """Write the summary of the experiment in `folder`, which may also hold damaged runs of other jobs."""
    from cbp_experiments.analysis.summaries import write_summary  # needs pandas and scipy.stats

    try:
        for line in write_summary(folder).left_out:
            print(f"{folder}: {line}")
    except ConfigError as error:
        print(f"no summary of {folder}: {error}", file=sys.stderr)


def train_launched(config: DictConfig) -> None:
    """Train one job in a process of the launcher, with its share of the cores.

    Progress is shown in a log, but not on a terminal, which the job would share with others.
    """
    with launched(), guarded():
        job = share_cores(build_job(config), HydraConfig.get().launcher.get("n_jobs", 1))
        run_job(job, show_bar=not sys.stderr.isatty())


def share_cores(job: Job, processes: int) -> Job:
    """Give the job its share of the cores among `processes`; as in joblib, -1 means one process per core."""
    if job.engine.workers:
        return job
    processes = processes if processes > 0 else max(1, cores() + 1 + processes)
    return replace(job, engine=replace(job.engine, workers=max(1, cores() // processes)))
