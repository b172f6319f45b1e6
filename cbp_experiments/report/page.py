"""Writes results/report.html from the CSVs; the command line of scripts/report.py."""

import argparse
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from operator import methodcaller
from pathlib import Path

from cbp_experiments.analysis.evidence import Evidence
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures.captions import about, size
from cbp_experiments.figures.draw import PAPER, PUBLISHED, Load, loader, picture, write_figure
from cbp_experiments.output import guarded
from cbp_experiments.report import provenance
from cbp_experiments.report.chapters import VERDICTS, Drawn, chapters, gaps, template
from cbp_experiments.report.docs import write_docs
from cbp_experiments.report.tables import MethodRow, columns, methods
from cbp_experiments.results import results_dir_option, write_atomically
from cbp_experiments.scores import score_of

TABLES = (
    *(f"permuted_mnist/{name}" for name in ("tuned", "methods", "tuned_published_size")),
    *(f"continual_imagenet/{name}" for name in ("tuned", "methods", "more_methods")),
)


@dataclass(frozen=True)
class Table:
    """A table of all methods of an experiment."""

    experiment: str
    caption: str
    columns: Sequence[str]
    rows: list[MethodRow]
    missing: list[str]


def table(source: Evidence, results_dir: Path) -> Table:
    rows = [] if source.frame is None else methods(source.frame)
    facts = "" if source.frame is None else about(source.frame)
    score = score_of(() if source.frame is None else source.frame.columns)
    return Table(source.name, facts, columns(score), rows, gaps(source, results_dir))


def png(drawn: Drawn) -> str:
    """Return the figure as a data URI."""
    buffer = BytesIO()
    write_figure(picture(*drawn), buffer)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def words(drawn: Drawn) -> str:
    """Return the heading and the caption of a picture."""
    return f"{drawn.entry.heading}. {drawn.entry.caption(drawn.sources)}"


def sizes(sources: Sequence[Evidence]) -> dict[str, list[str]]:
    """Group the experiments by the size of their runs, relative to the published size."""
    found: dict[str, list[str]] = {}
    for source in sources:
        if source.frame is not None and not source.is_tuning:
            found.setdefault(size(source.frame) or "of no named scale", []).append(source.name)
    return found


def experiments() -> list[str]:
    """List the experiments of the paper's figures."""
    return list(dict.fromkeys(name for entry in PAPER.values() for name in entry.experiments + entry.published))


def page(results_dir: Path, load: Load) -> str:
    """Render the page as HTML, the same for the same runs. Raises ConfigError if there are no runs at all."""
    names = experiments()
    sources = [load(name) for name in names]
    if all(source.frame is None for source in sources):
        command = f"{provenance.COMMAND}{names[0]}{results_dir_option(results_dir)}"
        elsewhere = [source.problem for source in sources if source.other_scales]  # there are runs, at other scales
        none = f"no runs of the paper's experiments in {results_dir}; make some with: {command}"
        raise ConfigError(elsewhere[0] if elsewhere else none)
    found = chapters(load, results_dir)
    return template("page.html").render(
        chapters=found,
        pictures={chapter.name: [(png(drawn), words(drawn)) for drawn in chapter.drawn] for chapter in found},
        tables=[table(load(name), results_dir) for name in TABLES if name in names or load(name).frame is not None],
        sizes=sizes(sources),
        verdicts=VERDICTS,
        at_published=PUBLISHED,
    )


def write_page(results_dir: Path, load: Load) -> Path:
    """Write results_dir/report.html, whole or not at all. Raises ConfigError if there are no runs at all."""
    path = results_dir / "report.html"
    write_atomically(path, methodcaller("write", page(results_dir, load).encode()))
    return path


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 2 after a one-line error."""
    parser = argparse.ArgumentParser(
        prog="cbp-experiments report", description="Write what the CSVs of the runs say: report.html."
    )
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where the runs are (%(default)s)")
    parser.add_argument("--scale", help="of the runs; by default the largest at which an experiment has some")
    parser.add_argument(
        "--docs", type=Path, nargs="?", const=Path("."), metavar="CHECKOUT",
        help="write, instead, docs/reproduction.md and the tables of README.md in a checkout (the current folder)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    results_dir, load = options.results_dir, loader(options.results_dir, options.scale)
    try:
        paths = write_docs(options.docs, load, results_dir) if options.docs else [write_page(results_dir, load)]
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*paths, sep="\n")
    for line in dict.fromkeys(line for name in experiments() for line in gaps(load(name), results_dir)):
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
