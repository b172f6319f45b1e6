"""A job from configuration to results: which runs are due, train them task by task, record what comes."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby

import torch
from tqdm import tqdm

from cbp_experiments.announce import announce, conclude
from cbp_experiments.config import Job
from cbp_experiments.engines import Engine, Group, Problem, Row, State, choose_engine, limited_threads
from cbp_experiments.provenance import provenance
from cbp_experiments.results import FINISHED, RunFolder, load_experiment, run_name

IN_FLIGHT_BYTES = 2**31  # runs that take turns on the cores stay in memory; no more of them than fit in this


def run_job(job: Job) -> None:
    """Train the runs of a job that are not finished yet. Raises ConfigError before anything is trained or written."""
    stream = job.data.load()
    problem = Problem(stream, job.network, job.learner, job.metrics, job.engine)
    engine = choose_engine(problem)
    name = job.identity(engine.name)
    runs = [
        Run(seed, RunFolder(job.results_dir / job.experiment / run_name(name, seed)), stream.tasks)
        for seed in job.seeds
    ]
    finished = [] if job.force else [run for run in runs if run.folder.status() in FINISHED]
    due = [run for run in runs if run not in finished]
    if finished:  # one of them that is damaged is better found now than after the training
        load_experiment(job.results_dir / job.experiment, runs=[run.folder.path.name for run in finished])
    facts = provenance() | {
        "tasks": stream.tasks,
        "engine": engine.name,
        "device": engine.device,
        "data_description": stream.description,
        "data_checksum": stream.checksum,
    }
    for run in due:
        run.take_up(job.force)
    announce(job, problem, engine, runs=[(run.folder.path.name, run.status, len(run.rows)) for run in runs])
    for run in due:
        run.folder.begin(job.run_config(run.seed, engine.name), facts, restart=job.force)
    for run in runs:
        run.folder.tidy()
    train(problem, engine, due, job.checkpoint_seconds)
    conclude(job, [run.folder.path.name for run in runs])


@dataclass(eq=False)
class Run:
    """One seed of a job: its folder, and what has been recorded of it."""

    seed: int
    folder: RunFolder
    tasks: int
    rows: list[Row] = field(default_factory=list)
    restored: State | None = None
    seconds: float = 0.0
    status: str = "finished before"

    def take_up(self, anew: bool) -> None:
        """Go on from the last checkpoint if there is one, or begin `anew`. Writes nothing."""
        self.status = "new"
        if not anew and (restored := self.folder.restore()):
            self.rows, self.restored, self.seconds = restored
            self.status = "continued"

    def record(self, row: Row | None, seconds: float) -> None:
        """Take up the row of a finished task, or mark the run diverged (None); finish it after its last task."""
        self.seconds += seconds
        if row is None:
            self.status = "diverged"
            tqdm.write(
                f"{self.folder.path.name} diverged in task {len(self.rows) + 1}: its loss is not finite any more"
            )
        else:
            self.rows.append(row)
            if len(self.rows) == self.tasks:
                self.status = "complete"
        if self.status in FINISHED:
            self.folder.finish(self.status, self.rows, self.seconds)


class Convoy:
    """A group of runs and their records: they advance together, one task at a turn."""

    def __init__(self, problem: Problem, engine: Engine, runs: list[Run], checkpoint_seconds: float):
        self.runs = runs
        self.checkpoint_seconds = checkpoint_seconds
        self.group: Group = engine.new_group(problem, [run.seed for run in runs])
        for i, run in enumerate(runs):
            if run.restored is not None:
                self.group.load(i, run.restored)
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


def train(problem: Problem, engine: Engine, due: list[Run], checkpoint_seconds: float) -> None:
    """Advance all runs to their last task, with a progress bar in updates of one run."""
    stream = problem.stream
    updates = -(-stream.task_length // stream.batch_size)
    left = sum(run.tasks - len(run.rows) for run in due) * updates
    with (
        limited_threads(engine.threads),
        tqdm(total=left, unit=" updates", unit_scale=True, mininterval=0.5, disable=not left) as bar,
    ):
        for wave in waves(problem, engine, due):
            take_turns([Convoy(problem, engine, runs, checkpoint_seconds) for runs in wave], engine, bar)


def waves(problem: Problem, engine: Engine, due: list[Run]) -> Iterator[list[list[Run]]]:
    """The runs that are in memory at the same time, as groups that advance together and so begin at the same task."""
    if engine.together:
        for _, runs in groupby(sorted(due, key=lambda run: len(run.rows)), key=lambda run: len(run.rows)):
            yield [list(runs)]
    else:
        size = max(engine.workers, IN_FLIGHT_BYTES // problem.weight_bytes())
        for i in range(0, len(due), size):
            yield [[run] for run in due[i : i + size]]


def take_turns(convoys: list[Convoy], engine: Engine, bar: tqdm) -> None:
    """Give the convoys a task each in turn, on as many threads as the engine has workers.

    On Ctrl-C the tasks under way are finished and saved; a second one stops them at once, as they were last saved.
    """
    stop = threading.Event()

    def progress(updates: int) -> None:
        if stop.is_set():
            raise Stopped
        bar.update(updates)

    with ThreadPoolExecutor(engine.workers, initializer=torch.set_num_threads, initargs=(engine.threads,)) as pool:
        turns: dict[Future[tuple[list[Row | None], float]], Convoy] = {}
        try:
            turns = {pool.submit(convoy.advance, progress): convoy for convoy in convoys}
            while turns:
                for turn in wait(turns, return_when=FIRST_COMPLETED).done:
                    convoy = turns.pop(turn)
                    convoy.record(*turn.result())
                    if not convoy.finished:
                        turns[pool.submit(convoy.advance, progress)] = convoy
        except KeyboardInterrupt:
            tqdm.write("stopping after the tasks under way; Ctrl-C again stops at once")
            for turn, convoy in turns.items():
                if not turn.cancel():
                    convoy.record(*turn.result())
                convoy.save()
            raise
        finally:
            stop.set()


class Stopped(Exception):
    """Ends a task from within, at the second Ctrl-C or when another one has failed."""
