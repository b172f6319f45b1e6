"""What the command line does, called from Python: `cbp_experiments.run`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cbp_experiments.cli.compose import compose
from cbp_experiments.cli.jobs import run_jobs
from cbp_experiments.results import joined, load_experiment
from cbp_experiments.training.job import build_job
from cbp_experiments.training.runner import Loaded, plan

if TYPE_CHECKING:
    import pandas as pd


def run(overrides: Sequence[str]) -> "pd.DataFrame":
    """Train what `python -m cbp_experiments -m <overrides>` trains, and return these runs as `results.load` does.

    overrides: as on the command line, ["learner=bp,cbp", "scale=smoke"]. Finished runs are not trained again. Raises
    ConfigError where the command line ends with an error, and KeyboardInterrupt after Ctrl-C, once the runs are saved.
    """
    before, sys.argv = sys.argv, ["cbp_experiments", "-m", *overrides]  # Hydra reads it
    try:
        composed = compose()
        run_jobs(composed)
    finally:
        sys.argv = before
    names: dict[Path, list[str]] = {}
    loaded = Loaded()
    for each in composed:
        job = build_job(each.config)
        _, _, runs = plan(job, loaded(job))
        names.setdefault(job.results_dir / job.experiment, []).extend(run.name for run in runs)
    return joined([load_experiment(folder, runs=runs) for folder, runs in names.items()])
