"""The runs of a job while they train: what is recorded of each, and the groups in which they advance."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cbp_experiments.engines import Engine, Group, Problem, Row, State
from cbp_experiments.progress import say
from cbp_experiments.results import FINISHED, RunFolder


@dataclass(eq=False)
class Run:
    """One seed of a job: its folder, and what has been recorded of it.

    config, facts: what config.yaml and run.json say. anew: train it even if it is finished.
    """

    folder: RunFolder
    config: dict[str, Any]
    facts: dict[str, Any]
    anew: bool
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
        """How far the run is, without taking it."""
        if not self.anew:
            self.tasks_done, _ = self.folder.progress()
            finished = self.folder.status() in FINISHED
            self.status = "finished before" if finished else "continued" if self.tasks_done else "new"

    def take(self) -> bool:
        """Take the run for this process and go on from its last checkpoint; False, and a line, if another has it."""
        if self.status == "finished before":
            return False
        if not self.folder.lock():
            self.status = "in progress"
            say(f"{self.name} is in progress in another process: left to it")
            return False
        self.taken = True
        if not self.anew and self.folder.status() in FINISHED:
            self.status = "finished before"
            say(f"{self.name} has been finished by another process")
            return False
        if not self.anew and (restored := self.folder.restore()):
            self.rows, self.restored, self.seconds = restored
        self.folder.begin(self.config, self.facts, restart=self.anew)
        return True

    def release(self) -> None:
        if self.taken:
            self.folder.unlock()
            self.taken = False

    def record(self, row: Row | None, seconds: float) -> None:
        """Take up the row of a finished task, or mark the run diverged (None); finish it after its last task."""
        self.seconds += seconds
        if row is None:
            self.status = "diverged"
            say(f"{self.name} diverged in task {len(self.rows) + 1}: its loss is not finite any more")
        else:
            self.rows.append(row)
            if len(self.rows) == self.tasks:
                self.status = "complete"
        if self.status in FINISHED:
            self.folder.finish(self.status, self.rows, self.seconds)
            self.release()


class Convoy:
    """A group of runs and their records: they advance together, one task at a turn."""

    def __init__(self, problem: Problem, engine: Engine, runs: list[Run], checkpoint_seconds: float):
        self.runs = runs
        self.checkpoint_seconds = checkpoint_seconds
        seeds = [run.config["seed"] for run in runs]
        self.group: Group = engine.new_group(problem, seeds)
        try:
            for i, run in enumerate(runs):
                if run.restored is not None:
                    self.group.load(i, run.restored)
        except (KeyError, ValueError, RuntimeError):
            names = ", ".join(run.name for run in runs)
            say(f"the checkpoint of another version of the code cannot be continued: {names} starts again")
            self.group = engine.new_group(problem, seeds)
            for run in runs:
                run.rows, run.seconds = [], 0.0
        for run in runs:
            run.restored = None
        self.task = len(runs[0].rows)
        self.saved_at = time.monotonic()

    def advance(self, progress: Callable[[int], None]) -> tuple[list[Row | None], float]:
        started = time.perf_counter()
        rows = self.group.run_task(self.task, progress)
        return rows, time.perf_counter() - started

    def record(self, rows: list[Row | None], seconds: float) -> None:
        self.task += 1
        for run, row in zip(self.runs, rows, strict=True):
            if run.status not in FINISHED:
                run.record(row, seconds)
        if time.monotonic() - self.saved_at >= self.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Checkpoint the runs that are not finished. Only between tasks."""
        for i, run in enumerate(self.runs):
            if run.status not in FINISHED:
                run.folder.save(run.rows, self.group.state(i), run.seconds)
        self.saved_at = time.monotonic()

    @property
    def finished(self) -> bool:
        return all(run.status in FINISHED for run in self.runs)
