"""`python -m cbp_experiments learner=cbp data=permuted_mnist`: the Hydra entry, nothing else."""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from cbp_experiments.config import USER_ERRORS, build_job, explain
from cbp_experiments.runner import run_job

PACKAGE = Path(__file__).resolve().parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(config: DictConfig) -> None:
    run_job(build_job(config))


def main() -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as exceptions; Hydra would print and exit with 1
    try:
        job()
    except USER_ERRORS as error:
        sys.exit(fail(explain(error)))
    except OSError as error:
        sys.exit(
            fail(f"{error.filename or error}: {error.strerror or 'cannot be used'}; choose another results_dir=...")
        )
    except KeyboardInterrupt:
        sys.exit(130)


def fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
