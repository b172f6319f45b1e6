"""A job from configuration to results: which runs are due, train them task by task, record what comes."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import groupby

import torch

from cbp_experiments.announce import announce, conclude
from cbp_experiments.config import Job
from cbp_experiments.engines import Engine, Problem, Row, choose_engine, limited_threads
from cbp_experiments.progress import Progress, say
from cbp_experiments.provenance import provenance
from cbp_experiments.results import FINISHED, RunFolder, check_writable, load_experiment, run_name
from cbp_experiments.runs import Convoy, Run
from cbp_experiments.streams import Stream

IN_FLIGHT_BYTES = 2**31  # runs that take turns on the cores stay in memory; no more of them than fit in this


def run_job(job: Job, *, show_bar: bool = True) -> None:
    """Train the runs of a job that are not finished yet. Raises ConfigError before anything is trained or written."""
    problem, engine, runs = plan(job)
    for run in runs:
        run.look()
    before = [run.name for run in runs if run.status == "finished before"]
    if before:  # one of them that is damaged is better found now than after the training
        load_experiment(job.results_dir / job.experiment, runs=before)
    expected = announce(job, problem, engine, runs=[(run.name, run.status, run.tasks_done) for run in runs])
    check_writable(job.results_dir)
    for run in runs:
        run.folder.tidy()
    due = [run for run in runs if run.name not in before]
    train(problem, engine, due, job.checkpoint_seconds, show_bar, expected)
    conclude(job, [run.name for run in runs if run.status in (*FINISHED, "finished before")])


def plan(job: Job, stream: Stream | None = None) -> tuple[Problem, Engine, list[Run]]:
    """What a job trains, on what, and its runs, one a seed. Writes nothing.

    stream: the job's, where it is loaded already.
    """
    stream = stream or job.data.load()
    problem = Problem(stream, job.network, job.learner, job.metrics, job.engine)
    engine = choose_engine(problem)
    kind = engine.device.partition(":")[0]  # cpu or cuda, whose numbers differ; cuda:1 is as good as cuda:0
    facts = provenance() | {
        "tasks": stream.tasks,
        "engine": engine.name,
        "device": engine.device,
        "data_description": stream.description,
        "data_checksum": stream.checksum,
    }
    folder, identity = job.results_dir / job.experiment, job.identity(stream.checksum, engine.name, kind)
    return (
        problem,
        engine,
        [
            Run(RunFolder(folder / run_name(identity, seed)), job.run_config(seed, identity), facts, job.force)
            for seed in job.seeds
        ],
    )


def train(
    problem: Problem,
    engine: Engine,
    due: list[Run],
    checkpoint_seconds: float,
    show_bar: bool = True,
    expected: float | None = None,
) -> None:
    """Advance all runs that are free to their last task; progress is in updates of one run. expected: in seconds."""
    stream = problem.stream
    updates = -(-stream.task_length // stream.batch_size)
    left = sum(run.tasks - run.tasks_done for run in due) * updates
    even = engine.workers + len(due) % engine.workers  # so many at a time that no core idles during the last ones
    at_a_time = max(engine.workers, min(even, IN_FLIGHT_BYTES // problem.weight_bytes()))
    with limited_threads(engine.threads), Progress(left, shown=show_bar, expected=expected) as bar:

        def convoy(runs: list[Run]) -> Convoy:
            return Convoy(problem, engine, runs, checkpoint_seconds)

        def take(run: Run) -> bool:
            taken, expected = run.take(), run.tasks - run.tasks_done
            bar.total += ((run.tasks - len(run.rows) if taken else 0) - expected) * updates
            return taken

        try:
            take_turns(map(convoy, groups(engine, due, take)), engine, 1 if engine.together else at_a_time, bar)
        finally:
            for run in due:
                run.release()


def groups(engine: Engine, due: list[Run], take: Callable[[Run], bool]) -> Iterator[list[Run]]:
    """The runs that advance together, which have to begin at the same task; each is taken when its turn comes."""
    if engine.together:
        taken = sorted(filter(take, due), key=lambda run: len(run.rows))
        yield from (list(runs) for _, runs in groupby(taken, key=lambda run: len(run.rows)))
    else:
        yield from ([run] for run in due if take(run))


def take_turns(convoys: Iterator[Convoy], engine: Engine, at_a_time: int, bar: Progress) -> None:
    """Give the convoys a task each in turn, `at_a_time` of them until they are finished, on the engine's workers.

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
            while True:
                while len(turns) < at_a_time and (convoy := next(convoys, None)):
                    turns[pool.submit(convoy.advance, progress)] = convoy
                if not turns:
                    return
                for turn in wait(turns, return_when=FIRST_COMPLETED).done:
                    convoy = turns.pop(turn)
                    convoy.record(*turn.result())
                    if not convoy.finished:
                        turns[pool.submit(convoy.advance, progress)] = convoy
        except KeyboardInterrupt:
            say("stopping after the tasks under way; Ctrl-C again stops at once")
            for turn, convoy in turns.items():
                if not turn.cancel():
                    convoy.record(*turn.result())
                convoy.save()
            raise
        finally:
            stop.set()


class Stopped(Exception):
    """Ends a task from within, at the second Ctrl-C or when another one has failed."""
