"""Loss of plasticity and continual backpropagation: the experiments of Dohare et al. (Nature 2024), fast and seeded."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbp_experiments.modules import Adam, UnitReplacer, Units

__all__ = ["Adam", "UnitReplacer", "Units"]

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
    """Import a name of `__all__` when it is first used, because it needs torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cbp_experiments import modules

    return getattr(modules, name)
