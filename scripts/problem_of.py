"""The problems of the benchmark, as the command line would compose them."""

from dataclasses import replace

import hydra

from cbp_experiments.cli.compose import CONF
from cbp_experiments.engines import Problem
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.training.job import build_job


def problem_of(*overrides: str, metrics: bool = False) -> Problem:
    """Compose a problem; without metrics unless they are asked for. Raises ConfigError."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        job = build_job(hydra.compose("config", list(overrides)))
    measurements = job.metrics if metrics else Measurements(features=[])
    return Problem(job.data.load(), job.network, job.learner, measurements, replace(job.engine, device="cpu"))
