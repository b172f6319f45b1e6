"""The jobs of a command line: all checked, then trained one after the other here, or wherever a launcher does it."""

import sys
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cbp_experiments.command_line import launch, names_launcher
from cbp_experiments.config import Job, build_job
from cbp_experiments.engines import cores
from cbp_experiments.errors import ConfigError
from cbp_experiments.runner import run_job
from cbp_experiments.summarize import write_summary


def run_jobs(configs: list[tuple[str, DictConfig]]) -> None:
    """Check all jobs, train them, and summarize the experiments that they belong to."""
    jobs = [(overrides, build_job(config)) for overrides, config in configs]
    if names_launcher() and len(jobs) > 1:
        launch(train_launched)
    else:
        for number, (overrides, job) in enumerate(jobs, start=1):
            if len(jobs) > 1:
                print(f"\n[job {number} of {len(jobs)}: {overrides}]", end="")
            run_job(job)
    for folder in dict.fromkeys(job.results_dir / job.experiment for _, job in jobs):
        if any(folder.glob("*/metrics.csv")):
            summarize(folder)


def summarize(folder: Path) -> None:
    """Write the summary of the experiment in `folder`; runs of other jobs may lie there, and may be damaged."""
    try:
        write_summary(folder)
    except ConfigError as error:
        print(f"no summary of {folder}: {error}", file=sys.stderr)


def train_launched(config: DictConfig) -> None:
    """Train one job in a process of the launcher's, with its share of the cores and without a progress bar."""
    run_job(share_cores(build_job(config), HydraConfig.get().launcher.get("n_jobs", 1)), show_bar=False)


def share_cores(job: Job, processes: int) -> Job:
    """The job with its share of the cores among `processes`; -1 is one a core, as joblib counts."""
    if job.engine.workers:
        return job
    processes = processes if processes > 0 else max(1, cores() + 1 + processes)
    return replace(job, engine=replace(job.engine, workers=max(1, cores() // processes)))
