"""results/report.html from the CSVs: the command line behind scripts/report.py."""

import argparse
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from operator import methodcaller
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cbp_experiments.errors import ConfigError
from cbp_experiments.figures.captions import about, size
from cbp_experiments.figures.draw import (
    PAPER,
    PUBLISHED,
    Entry,
    Load,
    empty,
    loader,
    picture,
    shown,
    sources_of,
    write_figure,
)
from cbp_experiments.output import guarded
from cbp_experiments.report import provenance
from cbp_experiments.report.findings import Finding
from cbp_experiments.report.sections import SECTIONS
from cbp_experiments.report.tables import COLUMNS, Row, methods
from cbp_experiments.results import write_atomically
from cbp_experiments.sources import Source

TABLES = ("permuted_mnist/methods", "continual_imagenet/methods", "continual_imagenet/more_methods")
VERDICTS = {True: "agrees with the paper", False: "not shown", None: "cannot be said"}


@dataclass(frozen=True)
class Part:
    """A figure on the page. picture: a PNG as a data URI, or nothing where there are no runs.

    published: the same at the published settings, beneath it, and its caption; nothing where there are none.
    """

    name: str
    title: str
    paper: str
    picture: str
    caption: str
    findings: list[Finding]
    missing: list[str]
    made: list[provenance.Made]
    published: str = ""
    published_caption: str = ""

    @property
    def verdicts(self) -> list[bool | None]:
        """Of the findings that speak to what the paper says."""
        return [finding.agrees for finding in self.findings if finding.claim]

    @property
    def verdict(self) -> str:
        """The sum of the findings, in a few words."""
        if not self.picture:
            return "no runs"
        if not self.verdicts:
            return ""
        agreeing, differing, unknown = (self.verdicts.count(verdict) for verdict in (True, False, None))
        if agreeing == len(self.verdicts):
            return VERDICTS[True]
        counts = [f"agrees in {agreeing} of {len(self.verdicts)} points"] if agreeing + differing else []
        return ", ".join([*counts, *([f"{unknown} cannot be said"] if unknown else [])])

    @property
    def agrees(self) -> bool | None:
        return False if False in self.verdicts else None if None in self.verdicts or not self.picture else True


@dataclass(frozen=True)
class Table:
    """All methods of an experiment."""

    experiment: str
    caption: str
    rows: list[Row]
    missing: list[str]


def part(name: str, load: Load, results_dir: Path) -> Part:
    """One figure: drawn, and looked at; beneath it the one at the published settings, if that is another."""
    wanted, section = PAPER[name], SECTIONS[name]
    entry, beneath = shown(wanted, load), wanted.at_published
    first, published = sources_of(wanted, load), sources_of(beneath, load)
    sources = first if entry is wanted else published
    has_published = entry is wanted and bool(published) and not empty(published)
    named = first + published if has_published or empty(first) else first
    return Part(
        name=name,
        title=entry.heading,
        paper=section.paper,
        picture="" if empty(sources) else png(entry, sources),
        caption=entry.caption(sources),
        findings=section.look([source.frame for source in sources]),
        missing=[line for source in named for line in gaps(source, results_dir)],
        made=[provenance.made(source) for source in named if source.frame is not None],
        published=png(beneath, published) if has_published else "",
        published_caption=f"{beneath.heading}. {beneath.caption(published)}" if has_published else "",
    )


def table(source: Source, results_dir: Path) -> Table:
    rows = [] if source.frame is None else methods(source.frame)
    facts = "" if source.frame is None else about(source.frame)
    return Table(source.name, facts, rows, gaps(source, results_dir))


def gaps(source: Source, results_dir: Path) -> list[str]:
    """What of an experiment is missing, left out or mixed, a sentence each, without a path of the machine."""
    if source.problem:
        return [source.problem.replace(str(results_dir), "results")]
    missing = [f"missing of {source.name}: {source.gaps}"] if source.gaps else []
    return [*missing, *(f"{source.name}: {remark}" for remark in source.remarks)]


def png(entry: Entry, sources: Sequence[Source]) -> str:
    """The figure as a data URI."""
    buffer = BytesIO()
    write_figure(picture(entry, sources), buffer)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def sizes(sources: Sequence[Source]) -> dict[str, list[str]]:
    """How large the runs are, against the published ones: the experiments of each size."""
    found: dict[str, list[str]] = {}
    for source in sources:
        if source.frame is not None and not source.is_tuning:
            found.setdefault(size(source.frame) or "of no named scale", []).append(source.name)
    return found


def page(results_dir: Path, scale: str | None = None) -> str:
    """The page as HTML, the same for the same runs. Raises ConfigError when there are no runs at all."""
    load = loader(results_dir, scale)
    names = dict.fromkeys(experiment for entry in PAPER.values() for experiment in entry.experiments + entry.published)
    sources = [load(name) for name in names]
    if all(source.frame is None for source in sources):
        command = f"{provenance.COMMAND}{next(iter(names))}"
        raise ConfigError(f"no runs of the paper's experiments in {results_dir}; make some with: {command}")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html").render(
        parts=[part(name, load, results_dir) for name in PAPER],
        tables=[table(load(name), results_dir) for name in TABLES if name in names or load(name).frame is not None],
        columns=COLUMNS,
        sizes=sizes(sources),
        verdicts=VERDICTS,
        at_published=PUBLISHED,
    )


def write_page(results_dir: Path, scale: str | None = None) -> Path:
    """Write results_dir/report.html, whole or not at all. Raises ConfigError when there are no runs at all."""
    path = results_dir / "report.html"
    write_atomically(path, methodcaller("write", page(results_dir, scale).encode()))
    return path


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after a line about what is wrong."""
    parser = argparse.ArgumentParser(prog="report", description="Write report.html from the CSVs of the runs.")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where the runs are (%(default)s)")
    parser.add_argument("--scale", help="of the runs; by default the largest at which an experiment has some")
    options = parser.parse_args(arguments)
    try:
        print(write_page(options.results_dir, options.scale))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
