"""Writes what a checkout's pages say about its runs: docs/reproduction.md, and the tables of results in README.md.

A table replaces everything between two marks:

    <!-- table: permuted_mnist/methods -->
    <!-- end -->
"""

import re
from operator import methodcaller
from pathlib import Path

from cbp_experiments.analysis.evidence import Evidence
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures.captions import about
from cbp_experiments.figures.draw import Load
from cbp_experiments.report.chapters import chapters, template
from cbp_experiments.report.provenance import COMMAND
from cbp_experiments.report.tables import FINAL, FIRST, MethodRow, methods
from cbp_experiments.results import write_atomically
from cbp_experiments.scores import Score, score_of

MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
DEAD, RANK = 3, 5  # columns of `methods`


def write_docs(checkout: Path, load: Load, results_dir: Path) -> list[Path]:
    """Write docs/reproduction.md, and the tables of README.md. Returns the paths, whether they changed or not.

    load: reads the experiments under `results_dir`. Raises ConfigError if README.md cannot be read.
    """
    readme, page = checkout / "README.md", checkout / "docs" / "reproduction.md"
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{readme} cannot be read ({error.strerror}); --docs takes the folder of a checkout"
        ) from error
    for path, content in ((page, reproduction(load, results_dir)), (readme, filled(text, load))):
        write_atomically(path, methodcaller("write", content.encode()))
    return [page, readme]


def reproduction(load: Load, results_dir: Path) -> str:
    """Render docs/reproduction.md: every figure of the paper, and what the runs say about it."""
    return template("reproduction.md", keep_trailing_newline=True).render(chapters=chapters(load, results_dir))


def filled(text: str, load: Load) -> str:
    """Fill in the table of each experiment that a page marks."""
    return MARKED.sub(lambda found: f"{found[1]}{table(load(found[2]))}\n{found[3]}", text)


def table(source: Evidence) -> str:
    """Format an experiment as a markdown table, one row per setting, best first; without runs, give their command."""
    rows = [] if source.frame is None else methods(source.frame)
    if source.frame is None or not rows:
        return f"No runs yet: `{COMMAND}{source.name}`"
    titles = head(score_of(source.frame.columns))
    lines = [titles, ["---"] * len(titles), *map(cells, rows)]
    missing = f" Missing: {source.gaps}." if source.gaps else ""
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", f"{about(source.frame)}{missing}"])


def head(score: Score) -> list[str]:
    return [
        "learner", "settings", "seeds", f"{score.label} at first", "at last, 95 % interval",
        "CBP minus it, 95 % interval, p", "dead units %", "effective rank %", "collapsed",
    ]  # fmt: skip


def cells(row: MethodRow) -> list[str]:
    """Format the cells of a row, in the order of `head`."""
    final = row.cells[FINAL]
    between = f" [{final.interval.replace(' to ', ', ')}]" if final.interval else ""
    return [
        row.name,
        row.settings,
        str(row.seeds),
        row.cells[FIRST].mean,
        f"{final.mean}{between}",
        row.difference or "–",
        row.cells[DEAD].mean,
        row.cells[RANK].mean,
        "not known" if row.unknown else row.collapsed.removesuffix(" collapsed") or "0",
    ]
