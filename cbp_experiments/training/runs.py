"""The runs of a job while they train: what is recorded of each, and the groups in which they advance."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from cbp_experiments.engines import Engine, Group, Problem, Row, State
from cbp_experiments.progress import say
from cbp_experiments.results import FINISHED, RunFolder, numbers_of, recorded
from cbp_experiments.results.files import first_line

DONE = ("finished", "tabled")  # the status of a run that needs no training


@dataclass(eq=False)
class Run:
    """One seed of a job: its folder, and what has been recorded so far.

    config, facts: the contents of config.yaml and run.json. retrain: train it even if it is finished. tabled: it is in
    the settings.csv of a tuning, so it counts as finished.
    """

    folder: RunFolder
    config: dict[str, Any]
    facts: dict[str, Any]
    retrain: bool
    tabled: bool = False
    rows: list[Row] = field(default_factory=list)
    restored: State | None = None
    seconds: float = 0.0
    status: str = "new"
    tasks_done: int = 0  # when it was last looked at
    taken: bool = False

    @property
    def name(self) -> str:
        return self.folder.path.name

    @property
    def tasks(self) -> int:
        return self.facts["tasks"]

    def look(self) -> None:
        """Update the status and the finished tasks, without taking the run."""
        if self.tabled and not self.retrain:
            self.status, self.tasks_done = "tabled", self.tasks
        elif not self.retrain:
            self.tasks_done, seconds = self.folder.progress()
            finished = self.folder.status() in FINISHED
            self.status = "finished" if finished else "continued" if seconds else "new"

    def take(self) -> bool:
        """Take the run for this process and restore its last checkpoint; False if it is finished or taken elsewhere."""
        if self.status == "finished":
            return False
        if not self.folder.lock():
            self.status = "in progress"
            say(f"{self.name} is in progress in another process: left to it")
            return False
        self.taken = True
        if not self.retrain and self.folder.status() in FINISHED:
            self.status = "finished"
            say(f"{self.name} was finished by another process")
            return False
        if not self.retrain and (found := self.folder.restore()):
            self.rows, self.restored, self.seconds = found
            self._check_restored(found[1])
        self.folder.begin(self.config, self.facts, restart=self.retrain)
        return True

    def _check_restored(self, state: State) -> None:
        position = state.get("position", np.array([]))
        begun_by, present = numbers_of(recorded(self.folder.path) or {}), numbers_of(self.facts)
        if begun_by != present:
            self.start_again(f"it is of version {begun_by} of the numerics, and this is version {present}")
        elif len(self.rows) >= self.tasks:
            self.start_again(f"it has {len(self.rows)} rows of {self.tasks} tasks")
        elif position.shape != () or position.dtype.kind != "i" or not (self.rows or position):
            self.start_again("it does not say how far it is")
        elif has_nan(state):
            self.start_again("it has values that are not numbers")

    def start_again(self, reason: str) -> None:
        """Discard what was restored, and print why."""
        say(f"the checkpoint of {self.name} cannot be continued ({reason}): the run starts again")
        self.folder.begin(self.config, self.facts, restart=True)
        self.rows, self.restored, self.seconds = [], None, 0.0

    @property
    def place(self) -> tuple[int, int]:
        """The run's place: finished tasks, and examples learned of the next task."""
        return len(self.rows), int(self.restored["position"]) if self.restored else 0

    def has_other_columns(self, row: Row | None) -> bool:
        """Whether `row` has other columns than the rows so far, which another version of the code wrote."""
        return bool(row and self.rows and row.keys() != self.rows[0].keys())

    def release(self) -> None:
        if self.taken:
            self.folder.unlock()
            self.taken = False

    def record(self, row: Row | None) -> None:
        """Take the row of a finished task, or mark the run diverged (None); finish it after its last task."""
        if row is None:
            self.status = "diverged"
            say(f"{self.name} diverged in task {len(self.rows) + 1}: loss is not finite")
        else:
            self.rows.append(row)
            if len(self.rows) == self.tasks:
                self.status = "complete"
        if self.status in FINISHED:
            self.folder.finish(self.status, self.rows, self.seconds)
            self.release()


class Convoy:
    """A group of runs and their records; they advance together, one task per turn, or part of a task before a pause.

    Raises Unusable if a run cannot continue from what was restored.
    """

    def __init__(self, problem: Problem, engine: Engine, runs: list[Run], checkpoint_seconds: float):
        self.runs = runs
        self.checkpoint_seconds = checkpoint_seconds
        self.new_group = partial(engine.new_group, problem, [run.config["seed"] for run in runs])
        self.group: Group = self.new_group()
        for i, run in enumerate(runs):
            if run.restored is not None:
                try:
                    self.group.load(i, run.restored)
                except (KeyError, ValueError, TypeError, RuntimeError) as error:
                    raise Unusable(run, first_line(error)) from error
        for run in runs:
            run.restored = None
        self.task = len(runs[0].rows)
        self.saved_at = time.monotonic()

    def advance(self, progress: Callable[[int], bool]) -> tuple[list[Row | None], float]:
        """Learn until the end of the task, or until `progress` or the next checkpoint asks for a pause."""
        started = time.perf_counter()
        rows = self.group.run_task(self.task, lambda updates: progress(updates) or self.save_is_due())
        return rows, time.perf_counter() - started

    def record(self, rows: list[Row | None], seconds: float) -> None:
        """Record what `advance` returned: the rows of a finished task, or none at a pause."""
        unfinished = [run for run in self.runs if run.status not in FINISHED]
        for run in unfinished:
            run.seconds += seconds
        if rows and any(run.has_other_columns(row) for run, row in zip(self.runs, rows, strict=True)):
            self.start_again("its rows have other columns")
        elif rows:
            self.task += 1
            for run, row in zip(self.runs, rows, strict=True):
                if run in unfinished:
                    run.record(row)

    def start_again(self, reason: str) -> None:
        for run in self.runs:
            if run.status not in FINISHED:
                run.start_again(reason)
        self.group, self.task = self.new_group(), 0

    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.checkpoint_seconds

    def save(self) -> None:
        """Checkpoint the runs that are not finished."""
        for i, run in enumerate(self.runs):
            if run.status not in FINISHED:
                state = self.group.state(i)
                if not has_nan(state):  # about to diverge: it will do so again from the last checkpoint
                    run.folder.save(run.rows, state, run.seconds)
        self.saved_at = time.monotonic()

    @property
    def finished(self) -> bool:
        return all(run.status in FINISHED for run in self.runs)


class Unusable(Exception):
    """A run cannot continue from its checkpoint."""

    def __init__(self, run: Run, reason: str):
        super().__init__(reason)
        self.run = run


def has_nan(state: State) -> bool:
    """Whether a value is NaN, which means that the run is damaged or about to diverge."""
    return any(array.dtype.kind == "f" and np.isnan(array).any() for array in state.values())
