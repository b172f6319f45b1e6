"""The ensemble engine: PyTorch, all runs of a job at once along a leading run dimension, any learner, any device."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.engines import base
from cbp_experiments.engines.abilities import check_tasks
from cbp_experiments.engines.base import Problem, Progress, Row, State, as_array, check_state, from_array, task_row
from cbp_experiments.engines.graphs import Graph, takes_graphs
from cbp_experiments.engines.shown import Shown, channels_last, side_by_side, stacked
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Step
from cbp_experiments.seeding import task_key
from cbp_experiments.streams import Examples, Task, lengths
from cbp_experiments.streams.base import PROBE_EXAMPLES

# Convolutions on a GPU give the same bits every time. As in the published runs, they may round to TF32.
repeatable = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=True)


class Ensemble:
    """A group of all given seeds (engines.base.Group). Runs share nothing: each has its own weights and stream."""

    def __init__(self, problem: Problem, seeds: Sequence[int]):
        self.problem = problem
        self.seeds = list(seeds)
        self.device = choose_device(problem.options.device)
        weights = [problem.initial_weights(seed) for seed in seeds]
        biases = [problem.initial_biases(seed) for seed in seeds]
        self.network = problem.network.stack(weights, biases, problem.bounds(), self.device, problem.dtype)
        self.step = Step(problem.learner, self.network, problem.objective.name)
        self.alive = torch.ones(len(seeds), dtype=torch.bool)
        self.underway: Underway | None = None
        self.begun: int | None = None  # the task that the step's draws and schedules are for
        self.shown: Shown | None = None
        self.graph = Graph() if takes_graphs(self.device, problem.options, problem.learner) else None

    def run_task(self, task: int, progress: Progress) -> list[Row | None]:
        stream = self.problem.stream
        tasks = [stream.task(seed, task) for seed in self.seeds]
        check_tasks("ensemble", self.problem, task, tasks)
        shown = self.show(tasks)
        if self.underway is None:
            self.underway = self._begin(task, self._measure(task, shown))
            if tasks[0].new_head:
                self.network.new_head()
        now = self.underway
        if self.begun != task:
            self.step.begin_task(self._keys(task), now.position // stream.batch_size)
            self.begun = task
        order = shown.rows(task.order for task in tasks)
        loss, score = self.learn(shown, order, progress)
        if self.paused:
            return []
        self.alive &= torch.isfinite(loss).cpu()
        scores = {self.problem.objective.score.column: (score.double() / order.shape[1]).tolist()}
        for name in tasks[0].tests:
            scores[name] = self._test(shown, shown.rows(task.tests[name] for task in tasks))
        means = (loss / order.shape[1]).tolist()
        return [
            task_row(self.problem, task, {name: of_runs[run] for name, of_runs in scores.items()}, means[run], columns)
            if self.alive[run]
            else None
            for run, columns in enumerate(now.measured)
        ]

    @repeatable
    def learn(self, shown: Shown, order: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """Learn from the rows `order [R, examples]`. Returns the sums `[R]` of their losses and of their scores.

        At a pause, `self.underway` remains; the next call with the same `order` continues.
        """
        now = self.underway = self.underway or self._begin(0, [{} for _ in self.seeds])
        self.present(shown)
        made, reported = 0, time.monotonic()
        for batch in order[:, now.position :].split(self.problem.stream.batch_size, dim=1):
            losses, scores = self.update(batch)
            now.loss.add_(losses, alpha=batch.shape[1])
            now.score += scores
            now.position += batch.shape[1]
            made += 1
            if time.monotonic() - reported >= base.PIECE_SECONDS and now.position < order.shape[1]:
                if progress(made * len(self.seeds)):
                    return now.loss, now.score
                made, reported = 0, time.monotonic()
        progress(made * len(self.seeds))
        self.underway = None
        return now.loss, now.score

    def present(self, shown: Shown) -> None:
        """Set what updates see. A graph reads fixed memory: `shown` is copied there, or the graph is captured again."""
        if self.graph:
            shown = shown.in_place_of(self.shown or shown)
            if shown is not self.shown:
                self.graph.forget()
        self.shown = shown

    def update(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Make one update from the rows `[R, B]` of what is shown. Returns losses and sums of scores, `[R]` each."""
        outcome = self.graph(self._learn_rows, rows) if self.graph else self._learn_rows(rows)
        self.step.between_updates()
        return outcome

    def _learn_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        assert self.shown is not None
        return self.step.learn(self.shown.inputs(rows), self.shown.labels[rows])

    @property
    def paused(self) -> bool:
        """Whether a task is partly learned."""
        return self.underway is not None

    def _keys(self, task: int) -> list[int]:
        return [task_key(seed, task) for seed in self.seeds]

    def _begin(self, task: int, measured: list[Row]) -> "Underway":
        loss = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        return Underway(task, measured, loss, torch.zeros_like(loss))

    def show(self, tasks: list[Task]) -> Shown:
        """Return the tasks' own images, or the stream's for all runs."""
        own = [task.examples for task in tasks if task.examples is not None]
        images, labels, begins = side_by_side(own, self.device) if own else self._images_of_the_stream
        permutations = [task.permutation for task in tasks if task.permutation is not None]
        permutation = stacked(permutations, self.device) if permutations else None
        channels = self.network.channels_last if own and permutation is None else 0
        if channels:
            images = channels_last(images, channels)
        return Shown(images, labels, begins, permutation, self.problem.stream.scale, self.problem.dtype, channels)

    @cached_property
    def _images_of_the_stream(self) -> tuple[Tensor, Tensor, Tensor]:
        stream = self.problem.stream
        images, labels, _ = side_by_side([Examples(stream.images, stream.labels)], self.device)
        return images, labels, torch.zeros(len(self.seeds), 1, dtype=torch.int64, device=self.device)

    @repeatable
    @torch.no_grad()
    def _measure(self, task: int, shown: Shown) -> list[Row]:
        rows = shown.rows(self.problem.stream.probe(seed, task) for seed in self.seeds)
        _, hidden = self.network.forward(shown.inputs(rows))
        return self.problem.measurements.take(task, hidden, self.network.weights)

    @repeatable
    @torch.no_grad()
    def _test(self, shown: Shown, rows: Tensor) -> list[float]:
        """Mean score of each run's bare network on `rows [R, B]`."""
        total = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        for part in rows.split(PROBE_EXAMPLES, dim=1):
            outputs, _ = self.network.forward(shown.inputs(part))
            total += self.step.loss(outputs, shown.labels[part])[1].sum(dim=1)
        return (total / rows.shape[1]).tolist()

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that lasts from one update to the next, `[R, ...]`."""
        tensors = {f"parameter_{i}": parameter for i, parameter in enumerate(self.network.parameters)}
        if self.network.normalization:
            tensors |= {f"normalization_{name}": tensor for name, tensor in self.network.normalization.state.items()}
        tensors |= {f"optimizer_{name}": tensor for name, tensor in self.step.optimizer.state.items()}
        for i, actor in enumerate(self.step.actors):
            tensors |= {f"mechanism_{i}_{name}": tensor for name, tensor in actor.state.items()}
        return tensors

    def state(self, run: int) -> State:
        state = {name: tensor[run].detach().cpu().numpy().copy() for name, tensor in self._tensors().items()}
        now = self.underway
        state["position"] = np.array(now.position if now else 0)
        if now:
            state["task_about"] = as_array({"task": now.task, "measured": now.measured[run]})
            state["task_loss"], state["task_score"] = now.loss[run].cpu().numpy(), now.score[run].cpu().numpy()
        return state

    def load(self, run: int, state: State) -> None:
        tensors, position = self._tensors(), int(state["position"])
        expected = {name: (tuple(tensor.shape[1:]), _numpy_type(tensor)) for name, tensor in tensors.items()}
        expected["position"] = (), np.dtype(np.int64)
        if position:
            about = from_array(state["task_about"])
            self.underway = self.underway or self._begin(about["task"], [{} for _ in self.seeds])
            expected |= dict.fromkeys(("task_loss", "task_score"), ((), np.dtype(np.float64)))
            expected["task_about"] = state["task_about"].shape, np.dtype(np.uint8)
        check_state(state, expected)
        self.begun = None
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor[run] = torch.from_numpy(state[name]).to(tensor)
        if position and self.underway:
            self._load_task(run, position, self.underway, state, about)

    def _load_task(self, run: int, position: int, now: "Underway", state: State, about: dict[str, Any]) -> None:
        """Restore a run's share of the task that was underway. Raises ValueError if it does not fit the task."""
        stream = self.problem.stream
        length = lengths(stream)[now.task]
        if not 0 < position < length or position % stream.batch_size or about["task"] != now.task:
            raise ValueError(f"its position is {position} in task {about['task']}")
        now.position, now.measured[run] = position, about["measured"]
        now.loss[run], now.score[run] = float(state["task_loss"]), float(state["task_score"])


@dataclass
class Underway:
    """A partly learned task: `position` examples are learned; metrics by run, sums `[R]` of losses and of scores."""

    task: int
    measured: list[Row]
    loss: Tensor
    score: Tensor
    position: int = 0


def _numpy_type(tensor: Tensor) -> np.dtype:
    return torch.empty(0, dtype=tensor.dtype).numpy().dtype


def choose_device(name: str) -> torch.device:
    """Return the named device; auto: the GPU if PyTorch sees one. Raises ConfigError if it cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"engine.device={name} is not usable here ({str(error).splitlines()[0]}); try cpu") from error
    return device
