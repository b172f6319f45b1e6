"""`python -m cbp_experiments learner=cbp data=permuted_mnist`: the entry, and the exit codes, nothing else."""

import sys

from hydra.errors import HydraException
from omegaconf import DictConfig

from cbp_experiments.command_line import compose, explain
from cbp_experiments.errors import ConfigError


def main() -> None:
    """Exit with 0; with 2 after one line on what is wrong with the input; with 130 after Ctrl-C."""
    try:
        if configs := compose():
            run_jobs(configs)
    except ConfigError as error:
        fail(str(error))
    except HydraException as error:  # when it instantiates a mechanism of the user's own
        fail(f"learner.mechanisms: {explain(error)}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):  # PyTorch raises RuntimeError
            raise
        fail(f"{str(error).splitlines()[0]}: take a smaller network.width, or fewer seeds at a time")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def run_jobs(configs: list[tuple[str, DictConfig]]) -> None:
    """Check all jobs, then run one after the other."""
    from cbp_experiments.config import build_job  # PyTorch takes seconds to import: not for --help or a slip
    from cbp_experiments.runner import run_job

    jobs = [(overrides, build_job(config)) for overrides, config in configs]
    for number, (overrides, job) in enumerate(jobs, start=1):
        if len(jobs) > 1:
            print(f"\n[job {number} of {len(jobs)}: {overrides}]", end="")
        run_job(job)


def fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
