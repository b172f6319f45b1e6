"""Chooses settings on separate seeds: `python -m cbp_experiments tune`. results/tuned.py describes its files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbp_experiments.cli.compose import Composed
from cbp_experiments.cli.jobs import run_jobs
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import FINISHED, load_experiment, locked
from cbp_experiments.results.files import remove
from cbp_experiments.results.naming import KIND, TARGET, flatten
from cbp_experiments.results.provenance import NUMBERS
from cbp_experiments.results.tuned import (
    CHOICE,
    FACTS,
    RUN,
    SETTINGS,
    Choice,
    read_settings,
    write_choice,
    write_settings,
)
from cbp_experiments.scores import Score, score_of
from cbp_experiments.training.job import Job, build_job
from cbp_experiments.training.messages import SIZE_KEYS
from cbp_experiments.training.runner import Loaded, plan
from cbp_experiments.words import count, some

if TYPE_CHECKING:
    import pandas as pd

    from cbp_experiments.analysis.tuning import Selection


def tune(composed: list[Composed]) -> int:
    """Train the grid of each learner, and write what was tried and chosen. Returns 0 if all have a choice, else 1.

    Raises ConfigError before anything is trained, also if a tuning seed is among the reported seeds (`build_job`).
    """
    grids: dict[Path, list[tuple[Composed, Job]]] = {}
    for each in composed:
        job = build_job(each.config)
        if not job.tune:
            raise ConfigError("tune: the option of tuning= leaves tune=false; take conf/tuning/default.yaml in it")
        grids.setdefault(job.results_dir / job.experiment, []).append((each, job))
    for folder, grid in grids.items():
        check(folder, [job for _, job in grid])
    chosen = []
    for number, (folder, grid) in enumerate(grids.items(), start=1):
        jobs = [job for _, job in grid]
        place = f"[learner {number} of {len(grids)}] " if len(grids) > 1 else ""
        seeds = ", ".join(map(str, jobs[0].seeds))
        print(f"{place}{folder}: {count(len(jobs), 'setting')} of {jobs[0].learner.name}, seeds {seeds}")
        run_jobs([each for each, _ in grid])
        print()
        chosen.append(conclude(folder, jobs))
    return 0 if all(chosen) else 1


def check(folder: Path, jobs: Sequence[Job]) -> None:
    """Raise ConfigError if a grid names a setting twice or sweeps over seeds.

    Also if settings.csv has runs that are not in this grid, because they would be lost.
    """
    if any(job.seeds != jobs[0].seeds for job in jobs):
        raise ConfigError("a grid has settings, each for all seeds: give the seeds once, tuning_seeds=[1000,1001,1002]")
    loaded = Loaded()
    names = Counter(run.name for job in jobs for run in plan(job, loaded(job))[-1])
    if twice := [name for name, times in names.items() if times > 1]:
        raise ConfigError(f"the grid of {folder.name} has a setting twice ({twice[0]}): name each value once")
    others = [row[RUN] for row in read_settings(folder) if row["numbers"] == str(NUMBERS) and row[RUN] not in names]
    if others:
        raise ConfigError(
            f"{folder / SETTINGS} has {count(len(others), 'run')} that are not of this grid ({some(others, 2)}); take "
            "another name for this tuning with tuned=..., or delete the file"
        )


def conclude(folder: Path, jobs: Sequence[Job]) -> bool:
    """Write settings.csv, and choice.yaml once all runs are finished; print the choice. Returns whether there is one.

    Holds a lock: if several processes finish at once, the last one sees all runs.
    """
    from cbp_experiments.analysis.tuning import select

    with locked(folder, SETTINGS, seconds=60.0):
        rows, missing = rows_of(folder, jobs)
        if rows:
            write_settings(folder, rows)
        if missing:
            runs = f"{len(missing)} of {len(rows) + len(missing)} runs"
            print(f"{folder}: {runs} are not finished yet: nothing is chosen")
            return False
        table = table_of(rows)
        selection, score = select(table), score_of(table.columns)
        if selection is None:
            remove(folder / CHOICE)
            print(f"{folder}: every setting has a run that diverged: nothing is chosen")
            return False
        write_choice(folder, choice_of(selection, score, jobs, int(table["tasks"].astype(int).max())))
    for line in lines(selection, score, jobs[0].learner.name, folder):
        print(line)
    return True


def rows_of(folder: Path, jobs: Sequence[Job]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of settings.csv, in the order of the grid, and the names of the unfinished runs.

    The keys in which the jobs differ are columns.
    """
    flat = [values_of(job) for job in jobs]
    keys = [key for key in flat[0] if any(values.get(key) != flat[0][key] for values in flat)]
    known = {row[RUN]: row for row in read_settings(folder) if row["numbers"] == str(NUMBERS)}
    loaded = Loaded()
    rows, missing = [], []
    for job, values in zip(jobs, flat, strict=True):
        problem, _, runs = plan(job, loaded(job))
        score = problem.objective.score.column
        for run in runs:
            setting = {RUN: run.name, **{key: values[key] for key in keys}, "seed": run.config["seed"]}
            if run.folder.status() in FINISHED:
                rows.append(setting | facts(load_experiment(folder, runs=[run.name]), score))
            elif run.name in known:
                rows.append(setting | {name: known[run.name][name] for name in facts_of(score)})
            else:
                missing.append(run.name)
    return rows, missing


def facts_of(score: str) -> tuple[str, ...]:
    """Return the columns after the seed; `score` is the column of scores."""
    return (FACTS[1], score, *FACTS[2:])


def facts(frame: "pd.DataFrame", score: str) -> dict[str, Any]:
    """Return the columns that `facts_of` names for a finished run; the means of a diverged run are empty."""
    from cbp_experiments.analysis.tenths import first_and_last

    status, tasks = frame["status"].iloc[0], int(frame["task"].max())
    whole = status == "complete"
    _, last = first_and_last(frame)
    means = [f"{part[score].mean():.8g}" if whole else "" for part in (frame, last)]
    return dict(zip(facts_of(score), [status, *means, tasks, frame["numbers"].iloc[0]], strict=True))


def table_of(rows: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    table = pd.DataFrame(rows)
    scores = [score_of(table.columns).column, "last_tenth"]
    return table.assign(**{name: pd.to_numeric(table[name]) for name in scores})


def values_of(job: Job) -> dict[str, Any]:
    """Return the values of the job's sections, by dotted key."""
    return dict(flatten(job.sections, leave_out=(TARGET, KIND)))


def choice_of(selection: "Selection", score: Score, jobs: Sequence[Job], tasks: int) -> Choice:
    """Return the contents of choice.yaml."""
    (best,) = [job for job in jobs if selection.values.items() <= values_of(job).items()]
    learner = best.identity({"learner": best.sections["learner"]})
    values = {**dict(flatten(learner, leave_out=(TARGET, KIND, "name"))), **selection.values}
    second = selection.second and {"values": selection.second}
    if second and (lead := selection.lead):
        second |= {name: round(getattr(lead, name), 4) for name in ("mean", "low", "high")}
    return Choice(
        learner=best.learner.name,
        values=values,
        seeds=best.seeds,
        tasks=tasks,
        settings=selection.settings,
        score=round(selection.score, 4),
        measure=score.column,
        size={key: value for key, value in values_of(best).items() if key in SIZE_KEYS},
        second=second or {},
        at_edge=selection.at_edge,
    )


def lines(selection: "Selection", score: Score, learner: str, folder: Path) -> Iterator[str]:
    """Describe the choice, line by line."""
    from cbp_experiments.analysis.statistics import no_interval

    value, digits = f"{selection.score:.{score.decimals}f} {score.unit}".strip(), f".{score.decimals}f"
    settings, lead = count(selection.settings, "setting"), selection.lead
    yield f"{learner}: best of {settings}: {words(selection.values)}, {value} over all tasks"
    if lead:
        interval = f" [{lead.low:{digits}}, {lead.high:{digits}}]" if lead.known else f" ({no_interval(lead.n)})"
        how = "points above" if score.higher_is_better else "below"
        yield f"  {lead.mean:{digits}}{interval} {how} the second, {words(selection.second)}"
    for key, beyond in selection.at_edge.items():
        edge = f"{key}={selection.values[key]:g} is at the edge of its grid"
        yield f"  {edge}: add {beyond:g}, and as many settings to the grids of the other learners"
    if selection.out:
        yield f"  a run diverged, which rules out: {'; '.join(map(words, selection.out))}"
    yield f"  {folder / CHOICE}, {SETTINGS}"


def words(setting: dict[str, Any] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in (setting or {}).items()) or "the only one"
