"""Results on disk: a folder per run (run_folder.py); a table (experiment.py) and a plan (planned.py) of all runs."""

from cbp_experiments.results.csv_rows import Row, metrics_csv
from cbp_experiments.results.experiment import (
    Experiment,
    joined,
    load,
    load_experiment,
    read_experiment,
    results_dir_option,
    run_folders,
)
from cbp_experiments.results.files import check_writable, write_atomically
from cbp_experiments.results.locking import locked
from cbp_experiments.results.naming import digest, run_name
from cbp_experiments.results.overview import check_identity, how_to_rename, misnamed, numbers_of, older_runs, recorded
from cbp_experiments.results.planned import Planned, add_to_plan, plan_of, write_plan
from cbp_experiments.results.run_folder import FINISHED, RunFolder

__all__ = [
    "FINISHED",
    "Experiment",
    "Planned",
    "Row",
    "RunFolder",
    "add_to_plan",
    "check_identity",
    "check_writable",
    "digest",
    "how_to_rename",
    "joined",
    "load",
    "load_experiment",
    "locked",
    "metrics_csv",
    "misnamed",
    "numbers_of",
    "older_runs",
    "plan_of",
    "read_experiment",
    "recorded",
    "results_dir_option",
    "run_folders",
    "run_name",
    "write_atomically",
    "write_plan",
]
