"""Loss of plasticity and continual backpropagation: the experiments of Dohare et al. (Nature 2024), fast and seeded."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbp_experiments.cli.from_python import run
    from cbp_experiments.modules import Adam, UnitReplacer, Units
    from cbp_experiments.results import load

__all__ = ["Adam", "UnitReplacer", "Units", "load", "run"]

# Modules that `python -m` may run; any other module would silently do nothing.
COMMANDS = (
    "cbp_experiments",
    "cbp_experiments.figures.draw",
    "cbp_experiments.preparing.command",
    "cbp_experiments.report.page",
    "cbp_experiments.analysis.summaries",
)

if sys.argv[:1] == ["-m"]:  # Python imports us to find the module
    named = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    if named.startswith(__name__) and named.removesuffix(".__main__") not in COMMANDS:
        print(f"error: {named} is not a command; python -m can run: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used: torch and pandas take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = {"run": "cli.from_python", "load": "results"}.get(name, "modules")
    return getattr(import_module(f"{__name__}.{place}"), name)
