"""The command `table`: scores with intervals, and paired differences, for the runs of any experiments."""

import argparse
import sys
from collections.abc import Callable, Sequence
from operator import methodcaller
from pathlib import Path

import pandas as pd

from cbp_experiments.analysis.comparisons import MEASURES, comparisons, difference_cells
from cbp_experiments.analysis.selection import add_arguments, select
from cbp_experiments.analysis.summaries import interval, scores
from cbp_experiments.analysis.tenths import aligned, collapsed_lines, left_out, mixed, setting_name, show
from cbp_experiments.errors import ConfigError
from cbp_experiments.output import guarded
from cbp_experiments.results import write_atomically
from cbp_experiments.scores import Score, score_of
from cbp_experiments.words import count

# Columns of `comparisons`, and what they are called after the measure.
FOUND = {"difference": "difference", "low": "difference_low", "high": "difference_high", "p_holm": "p",
         "above": "above", "n": "n"}  # fmt: skip


def numbers(frame: pd.DataFrame, by: Sequence[str], against: str | None = None) -> pd.DataFrame:
    """Compute a row per setting, the best first: its scores, and the reference minus it, paired by seed.

    Columns: those of `summaries.scores`; reference, whether the row is the reference; for both measures (average,
    final), <measure>_difference, _difference_low, _difference_high, _p (Holm), _above and _n, as in `comparisons`.
    Raises ConfigError if there is no complete run, or none of `against`.
    """
    rows, found = scores(frame, by), comparisons(frame, against, by=by, one_learner=True)
    if rows.empty:
        raise ConfigError(f"none of the {frame['run'].nunique()} runs is complete")
    for measure, of in MEASURES.items():
        part = found[found["measure"] == of] if len(found) else pd.DataFrame(columns=[*by, *FOUND])
        part = part.rename(columns={old: f"{measure}_{new}" for old, new in FOUND.items()})
        rows = rows.merge(part[[*by, *(f"{measure}_{new}" for new in FOUND.values())]], how="left", on=list(by))
    rows["reference"] = rows["average_n"].isna() & (len(rows) > 1)
    return rows.sort_values("average", ascending=not score_of(frame.columns).higher_is_better, ignore_index=True)


def cells(rows: pd.DataFrame, by: Sequence[str], score: Score) -> list[list[str]]:
    """Format `numbers`: the titles, then a line per setting."""
    compared = bool(rows["reference"].any())
    titles = ["learner", *(name.removeprefix("learner.") for name in by[1:]), "seeds"]
    for of in MEASURES.values():
        titles += [f"{score.label}, {of}", *(["difference", "p"] if compared else [])]
    lines = [titles]
    for row in rows.to_dict("records"):
        line = [*(show(row[name]) for name in by), str(row["seeds"])]
        for measure in MEASURES:
            line.append(interval(row, measure, score))
            if compared:
                found = {old: row[f"{measure}_{new}"] for old, new in FOUND.items()}
                difference, _, p = difference_cells(found, score.decimals)
                line += ["reference", ""] if row["reference"] else [difference, p]
        lines.append(line)
    return lines


def legend(frame: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str], score: Score) -> list[str]:
    """Explain the table in a few lines, and name runs that collapsed or are left out."""
    lines = [f"{score.words}: mean over seeds; in brackets: 95 % t interval"]
    if rows["reference"].any():
        reference = rows[rows["reference"]].iloc[0]
        runs = frame.drop_duplicates("run")
        name = setting_name(runs, by, [reference[key] for key in by])
        of = int((rows["learner.name"] == reference["learner.name"]).sum())
        chosen = f"; it was chosen from {of} settings on these seeds" if of > 1 else ""
        tests = count(len(rows) - 1, "comparison")
        lines.append(f"difference: {name} minus the setting, paired by seed{chosen}")
        lines.append(f"p: paired t test, Holm's correction for {tests}")
    return [*lines, *collapsed_lines(frame), *left_out(frame), *mixed(frame)]


def text(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(line.rstrip() for line in aligned([list(line) for line in lines]))


def markdown(lines: Sequence[Sequence[str]]) -> str:
    rows = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in rows)


def latex(lines: Sequence[Sequence[str]]) -> str:
    """Write a tabular with the rules of the package booktabs."""
    titles, *body = lines
    escaped = [title.replace("_", r"\_").replace("%", r"\%") for title in titles]
    return pd.DataFrame(body).to_latex(index=False, header=escaped, escape=True).rstrip("\n")


FORMATS: dict[str, Callable[[Sequence[Sequence[str]]], str]] = {"text": text, "markdown": markdown, "latex": latex}
COMMENT = {"text": "", "markdown": "", "latex": "% "}


def formatted(kind: str, frame: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str]) -> str:
    """Return the table as text of a kind; csv has the numbers as they are, and no legend."""
    if kind == "csv":
        return rows.to_csv(index=False, float_format="%.8g").rstrip("\n")
    score = score_of(frame.columns)
    words = [f"{COMMENT[kind]}{line}" for line in legend(frame, rows, by, score)]
    return "\n".join([FORMATS[kind](cells(rows, by, score)), *([""] if kind == "markdown" else []), *words])


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 2 after a one-line error."""
    parser = argparse.ArgumentParser(prog="cbp-experiments table", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--against", metavar="LEARNER", help="compare the others with this one (cbp, or else the best)")
    parser.add_argument("--format", choices=[*FORMATS, "csv"], default="text", help="(%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there instead of to the terminal")
    options = parser.parse_args(arguments)
    try:
        found = select(options)
        rows = numbers(found.frame, found.by, options.against)
        content = formatted(options.format, found.frame, rows, found.by)
        if options.out:
            write_atomically(options.out, methodcaller("write", f"{content}\n".encode()))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    missing = [f"missing of {each.name}: {each.gaps}" for each in found.sources if each.gaps]
    print(*missing, sep="\n", end="\n" if missing else "", file=sys.stderr)
    print(options.out or content)
    return 0
