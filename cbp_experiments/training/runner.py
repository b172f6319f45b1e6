"""Runs a job: finds the runs that are due, trains them task by task, and records the results."""

import resource
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import groupby

import torch

from cbp_experiments import signals
from cbp_experiments.engines import Engine, Problem, Row, choose_engine, limited_threads
from cbp_experiments.progress import Progress, say
from cbp_experiments.results import (
    FINISHED,
    RunFolder,
    check_identity,
    check_writable,
    load_experiment,
    run_name,
)
from cbp_experiments.results.provenance import provenance
from cbp_experiments.results.tuned import tried
from cbp_experiments.streams import Stream, updates_of
from cbp_experiments.training.job import Job
from cbp_experiments.training.messages import announce, conclude
from cbp_experiments.training.runs import DONE, Convoy, Run, Unusable

IN_FLIGHT_BYTES = 2**31  # memory for the runs that take turns on the cores; it limits their number
OTHER_FILES = 40  # files that a process has open, or opens while it saves


class Loaded:
    """Loads the stream of a job, once for consecutive jobs that share it. Raises ConfigError, as loading does."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def __call__(self, job: Job) -> Stream:
        data = repr(job.sections["data"])
        if data not in self._streams:
            self._streams = {data: job.data.load()}
        return self._streams[data]


def run_job(job: Job, stream: Stream | None = None, *, show_bar: bool = True) -> bool:
    """Train the unfinished runs of a job. Returns whether there were any.

    stream: the job's, if already loaded. Raises ConfigError before anything is trained or written.
    """
    problem, engine, runs = plan(job, stream)
    for run in runs:
        run.look()
    before = [run.name for run in runs if run.status == "finished"]
    if before:  # finds a damaged run now, not after the training
        load_experiment(job.results_dir / job.experiment, runs=before)
    expected = announce(job, problem, engine, runs=[(run.name, run.status, run.tasks_done) for run in runs])
    check_writable(job.results_dir)
    for run in runs:
        run.folder.tidy()
    due = [run for run in runs if run.status not in DONE]
    train(problem, engine, due, job.checkpoint_seconds, show_bar, expected)
    conclude(job, [run.name for run in runs if run.status in (*FINISHED, "finished")])
    return bool(due)


def plan(job: Job, stream: Stream | None = None) -> tuple[Problem, Engine, list[Run]]:
    """Return the problem, the engine and the runs of a job, one run per seed. Writes nothing.

    stream: the job's, if already loaded. Raises ConfigError if the folder of a run holds another run.
    """
    stream = stream or job.data.load()
    problem = Problem(stream, job.network, job.learner, job.metrics, job.engine)
    engine = choose_engine(problem)
    kind = engine.device.partition(":")[0]  # cpu and cuda give different numbers; cuda:0 and cuda:1 do not
    settings = job.settings(stream.checksum, engine.name, kind)
    identity = job.identity(settings)
    facts = provenance() | {
        "tasks": stream.tasks,
        "classes": stream.classes,
        "engine": engine.name,
        "device": engine.device,
        "data_description": stream.description,
        "data_checksum": stream.checksum,
        "settings": identity,
    }
    folder = job.results_dir / job.experiment
    paths = {seed: folder / run_name(identity, seed) for seed in job.seeds}
    for seed, path in paths.items():
        check_identity(path, identity, seed)
    tabled = tried(folder) if job.tune else set()
    runs = [
        Run(RunFolder(path), job.run_config(seed, settings), facts, job.force, path.name in tabled)
        for seed, path in paths.items()
    ]
    return problem, engine, runs


def train(
    problem: Problem,
    engine: Engine,
    due: list[Run],
    checkpoint_seconds: float,
    show_bar: bool = True,
    expected: float | None = None,
) -> None:
    """Train all runs that no other process holds, until they end; the progress bar counts the updates of all of them.

    expected: the seconds that were announced. At a signal (signals.py), the runs under way are saved, within their
    tasks if need be, and Interrupted is raised; a second signal stops at once and leaves them as last saved.
    """
    stream = problem.stream
    left = sum(updates_of(stream, run.tasks_done) for run in due)
    even = engine.workers + len(due) % engine.workers  # this many at a time keep all cores busy to the end
    at_a_time = max(engine.workers, min(even, IN_FLIGHT_BYTES // problem.weight_bytes()))
    with (
        limited_threads(engine.threads),
        Progress(left, shown=show_bar, expected=expected) as bar,
        signals.noted() as request,
    ):

        def updates_left(run: Run) -> int:
            tasks, examples = run.place
            return updates_of(stream, tasks) - -(-examples // stream.batch_size)

        def take(run: Run) -> bool:
            taken = run.take()
            bar.total += (updates_left(run) if taken else 0) - updates_of(stream, run.tasks_done)
            return taken

        def convoys(runs: list[Run]) -> Iterator[Convoy]:
            """Make one convoy of all runs, except those with an unusable checkpoint, which start again separately."""
            try:
                yield Convoy(problem, engine, runs, checkpoint_seconds)
            except Unusable as error:
                bar.total -= updates_left(error.run)
                error.run.start_again(str(error))
                bar.total += updates_left(error.run)
                if others := [run for run in runs if run is not error.run]:
                    yield from convoys(others)
                yield from convoys([error.run])

        try:
            started = (convoy for runs in groups(engine, due, take) for convoy in convoys(runs))
            take_turns(started, engine, 1 if engine.together else at_a_time, bar, request)
        finally:
            for run in due:
                run.release()
    if request.number is not None:
        raise signals.Interrupted(request.number)


def groups(engine: Engine, due: list[Run], take: Callable[[Run], bool]) -> Iterator[list[Run]]:
    """Yield the runs that advance together, which must be at the same place; each is taken when its turn comes."""
    if not engine.together:
        yield from ([run] for run in due if take(run))
        return
    at_once = most_open()
    if len(due) > at_once:
        say(f"  {at_once} runs at a time: more locks than this process may open files (ulimit -n)")
    for begin in range(0, len(due), at_once):
        taken = sorted(filter(take, due[begin : begin + at_once]), key=lambda run: run.place)
        yield from (list(runs) for _, runs in groupby(taken, key=lambda run: run.place))


def most_open() -> int:
    """Raise the limit of open files; return how many runs this process can hold, each with a lock, an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (sys.maxsize if soft == resource.RLIM_INFINITY else soft) - OTHER_FILES)


def take_turns(
    convoys: Iterator[Convoy], engine: Engine, at_a_time: int, bar: Progress, request: signals.Request
) -> None:
    """Train the convoys on the engine's workers, `at_a_time` of them in turns of one task, until all are finished.

    At a signal, the convoys under way pause and are saved, and no other begins.
    """
    abandoned = threading.Event()

    def progress(updates: int) -> bool:
        if abandoned.is_set():
            raise Abandoned
        bar.update(updates)
        return request.number is not None

    with ThreadPoolExecutor(engine.workers, initializer=torch.set_num_threads, initargs=(engine.threads,)) as pool:
        turns: dict[Future[tuple[list[Row | None], float]], Convoy] = {}
        stopping = False
        try:
            while True:
                while request.number is None and len(turns) < at_a_time and (convoy := next(convoys, None)):
                    turns[pool.submit(convoy.advance, progress)] = convoy
                if request.number is not None and not stopping:
                    stopping = True
                    say("stopping: the runs under way are saved; a second signal stops at once")
                if not turns:
                    return
                for turn in wait(turns, return_when=FIRST_COMPLETED).done:
                    convoy = turns.pop(turn)
                    convoy.record(*turn.result())
                    if convoy.save_is_due() or request.number is not None:
                        convoy.save()
                    if request.number is None and not convoy.finished:
                        turns[pool.submit(convoy.advance, progress)] = convoy
        finally:
            abandoned.set()


class Abandoned(Exception):
    """Ends a task from within, at a second signal or when another task has failed."""
