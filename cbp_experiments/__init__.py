"""Loss of plasticity and continual backpropagation: the experiments of Dohare et al. (Nature 2024), fast and seeded."""

import sys

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
