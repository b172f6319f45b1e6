"""`python -m cbp_experiments learner=cbp data=permuted_mnist`: only the entry point and the exit codes."""

import os
import signal
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

from cbp_experiments import signals
from cbp_experiments.errors import ConfigError
from cbp_experiments.output import guarded

# Commands besides those that take Hydra's overrides, and their modules, whose `main` takes the arguments.
COMMANDS = {
    "plot": "cbp_experiments.figures.plot",
    "table": "cbp_experiments.analysis.table",
    "summarize": "cbp_experiments.analysis.summaries",
    "figures": "cbp_experiments.figures.draw",
    "report": "cbp_experiments.report.page",
    "prepare-imagenet": "cbp_experiments.preparing.command",
}
HYDRAS = ("run", "status", "tune")


def command() -> None:
    """Run `cbp-experiments` or `python -m cbp_experiments` in its own process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # before and after `main`, Ctrl-C ends it without a traceback
    with suppress(OSError):  # a working folder that has been deleted
        if not sys.flags.safe_path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # for a user's modules, as `python -m` does
    main()


@guarded()
def main() -> None:
    """Exit with 0; with 2 after a one-line error about the input; after a signal, with 128 plus its number."""
    try:
        with signals.raised():  # before the imports that take seconds
            run()
    except KeyboardInterrupt as error:  # a second signal is no longer caught: it stops at once
        how = "the same command without force=true" if "force=true" in sys.argv else "the same command"
        print(f"interrupted; {how} goes on from here", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, signals.Interrupted) else 130)


def run() -> None:
    word = next(iter(sys.argv[1:]), "")
    if word in COMMANDS:
        sys.exit(import_module(COMMANDS[word]).main(sys.argv[2:]))
    if word and word not in HYDRAS and word.replace("-", "").isalpha() and not word.startswith("-"):
        close = get_close_matches(word, [*COMMANDS, *HYDRAS], 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        fail(f"there is no command {word}{meant} (commands: {', '.join([*HYDRAS, *COMMANDS])})")
    taken("run")
    from hydra.errors import HydraException

    from cbp_experiments.cli.compose import compose
    from cbp_experiments.cli.hydra_errors import explain

    try:
        tune = taken("tune")
        status = taken("status")
        tune = tune or taken("tune")
        if composed := compose(tune=tune):
            from cbp_experiments.cli.jobs import run_jobs  # PyTorch takes seconds to import: not for --help or a typo
            from cbp_experiments.cli.status import report
            from cbp_experiments.cli.tune import tune as choose

            if status:
                sys.exit(report([(job.overrides, job.config) for job in composed]))
            if tune:
                sys.exit(choose(composed))
            run_jobs(composed)
    except ConfigError as error:
        fail(str(error))
    except HydraException as error:  # when it instantiates a user's own mechanism
        fail(f"learner.mechanisms: {explain(error)}")
    except (MemoryError, OverflowError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # PyTorch raises RuntimeError
            raise
        problem = next(iter(str(error).splitlines()), "out of memory")
        fail(f"{problem}: take a smaller network.width, or fewer seeds at a time")


def taken(word: str) -> bool:
    """Remove this word from the start of the arguments. Returns whether it was there."""
    there = sys.argv[1:2] == [word]
    if there:
        del sys.argv[1]
    return there


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    command()
