"""Redraw a figure from the CSVs: the list of figures and the command line behind scripts/figures.py."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from cbp_experiments.errors import ConfigError
from cbp_experiments.figures import four_panels, style
from cbp_experiments.results import load_experiment, write_atomically
from cbp_experiments.summary import table


@dataclass(frozen=True)
class Entry:
    """A figure: `draw` takes the frames of `experiments` in their order."""

    experiments: tuple[str, ...]
    draw: Callable[..., Figure]


FIGURES = {
    "demo": Entry(("demo",), four_panels.figure),
}
# No dates and no versions, so that the same CSVs give the same bytes.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def draw(name: str, results_dir: Path) -> tuple[str, list[Path]]:
    """Draw one figure from the runs under `results_dir` into results_dir/figures/<name>.png and .pdf.

    Returns the table of each experiment in it, as one text, and the paths.
    Raises ConfigError, one line, for an unknown name, missing or damaged runs, or an unwritable folder.
    """
    if name not in FIGURES:
        raise ConfigError(f"unknown figure {name}; there are: {', '.join(FIGURES)}")
    entry = FIGURES[name]
    frames = [load_experiment(results_dir / experiment, experiment) for experiment in entry.experiments]
    paths = save(entry.draw(*frames), results_dir / "figures" / name)
    return "\n\n".join(table(frame) for frame in frames), paths


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png and <stem>.pdf, each whole or not at all; returns their paths."""
    paths = []
    for kind, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{kind}")
        with matplotlib.rc_context(style.RC):
            write_atomically(path, partial(figure.savefig, format=kind, metadata=metadata))
        paths.append(path)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints the table and the paths; returns the exit code, 2 after a line about what is wrong."""
    parser = argparse.ArgumentParser(prog="figures", description="Redraw a figure from the CSVs of its runs.")
    parser.add_argument("figure", help=f"one of: {', '.join(FIGURES)}")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where the runs are (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        text, paths = draw(options.figure, options.results_dir)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(text, *paths, sep="\n")
    return 0
