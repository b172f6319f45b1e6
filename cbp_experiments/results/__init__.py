"""Results on disk: a folder a run (run_folder.py), read back as one table an experiment (experiment.py); planned.py."""

from cbp_experiments.results.experiment import load_experiment, load_facts
from cbp_experiments.results.files import check_writable, write_atomically
from cbp_experiments.results.planned import Planned, add_to_plan, plan_of
from cbp_experiments.results.run_folder import FINISHED, Row, RunFolder, digest, metrics_csv, run_name

__all__ = [
    "FINISHED",
    "Planned",
    "Row",
    "RunFolder",
    "add_to_plan",
    "check_writable",
    "digest",
    "load_experiment",
    "load_facts",
    "metrics_csv",
    "plan_of",
    "run_name",
    "write_atomically",
]
