"""`python -m cbp_experiments learner=cbp data=permuted_mnist`: the entry, and the exit codes, nothing else."""

import sys

from hydra.errors import HydraException
from omegaconf import DictConfig

from cbp_experiments.command_line import compose, explain
from cbp_experiments.errors import ConfigError
from cbp_experiments.output import guarded


@guarded()
def main() -> None:
    """Exit with 0; with 2 after one line on what is wrong with the input; with 130 after Ctrl-C."""
    try:
        status = sys.argv[1:2] == ["status"]
        if status:
            del sys.argv[1]
        if configs := compose():
            run(configs, status)
    except ConfigError as error:
        fail(str(error))
    except HydraException as error:  # when it instantiates a mechanism of the user's own
        fail(f"learner.mechanisms: {explain(error)}")
    except (MemoryError, OverflowError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # PyTorch raises RuntimeError
            raise
        fail(f"{str(error).splitlines()[0]}: take a smaller network.width, or fewer seeds at a time")
    except KeyboardInterrupt:
        how = "the same command without force=true" if "force=true" in sys.argv else "the same command"
        print(f"interrupted; {how} goes on from here", file=sys.stderr)
        sys.exit(130)


def run(configs: list[tuple[str, DictConfig]], status: bool) -> None:
    from cbp_experiments import jobs  # PyTorch takes seconds to import: not for --help or a slip
    from cbp_experiments.status import report

    if status:
        sys.exit(report(configs))
    jobs.run_jobs(configs)


def fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
