"""The online engine: mini-batch 1 on the CPU, compiled (compiled/kernel.py). Each run is a group, on one thread."""

import time
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from cbp_experiments.engines import arrays, base
from cbp_experiments.engines.abilities import check_images, check_rows, check_tasks
from cbp_experiments.engines.base import Problem, Progress, Row, State, as_array, check_state, from_array, task_row
from cbp_experiments.engines.compiled import kernel, structures
from cbp_experiments.networks import MLP
from cbp_experiments.networks.activations import activation
from cbp_experiments.scores import ACCURACY
from cbp_experiments.seeding import task_key
from cbp_experiments.streams import lengths

CHUNK = structures.CHUNK
FIRST_PIECE = 100  # updates in the first call of the kernel, when its speed is not known yet
P = TypeVar("P")


class OnlineRun:
    """A group of one seed (engines.base.Group)."""

    def __init__(self, problem: Problem, examples: structures.SparseExamples, seed: int):
        assert isinstance(problem.network, MLP)
        self.problem, self.architecture = problem, problem.network
        self.examples = examples
        self.seeds = [seed]
        self.dtype = np.dtype(problem.options.dtype)
        sizes = self.architecture.sizes(problem.inputs, problem.stream.classes)
        gains = problem.learner.chosen_normalization is not None
        self.network = arrays.network(sizes, problem.bounds(), self.architecture.activation, self.dtype, gains)
        for view, weight in zip(self.weights, problem.initial_weights(seed), strict=True):
            view[:] = weight
        self.run = arrays.run(self.network)
        self.parts = arrays.parts(problem.learner, self.network)
        self.underway: Underway | None = None
        self.piece = FIRST_PIECE

    @property
    def arrays_of_parts(self) -> list[structures.PartArrays]:
        """The arrays of the parts that the learner has."""
        parts = self.parts
        return [p for p in (parts.optimizer, parts.normalization, parts.magnitudes, *parts.mechanisms) if p is not None]

    def part(self, kind: type[P]) -> P:
        """Return the arrays of this kind, which the learner must have."""
        return next(part for part in self.arrays_of_parts if isinstance(part, kind))

    @property
    def weights(self) -> list[np.ndarray]:
        """Views `[in, out]` of the layers' weights, without the padding."""
        network = self.network
        return [
            network.weights[start : start + a * b].reshape(a, b)[: network.sizes[i], : network.sizes[i + 1]]
            for i, (start, a, b) in enumerate(
                zip(network.starts, network.strides[:-1], network.strides[1:], strict=True)
            )
        ]

    def run_task(self, task: int, progress: Progress) -> list[Row | None]:
        stream, seed = self.problem.stream, self.seeds[0]
        drawn = stream.task(seed, task)
        check_tasks("online", self.problem, task, [drawn])
        check_rows(self.problem, task, drawn)
        position = np.arange(self.problem.inputs)
        if drawn.permutation is not None:
            position = np.argsort(drawn.permutation)
        if self.underway is None:
            measured = self.measure(task, position)
            self.underway = self._begin(task_key(seed, task), len(drawn.order), measured)
        now = self.underway
        losses, hits = self.learn(drawn.order, position, task_key(seed, task), progress)
        if self.paused:
            return []
        if len(losses) < len(drawn.order):
            return [None]
        loss, score = float(losses.mean()), self.problem.objective.score
        scores = {score.column: float(hits.mean()) if score == ACCURACY else loss}
        return [task_row(self.problem, task, scores, loss, now.measured)]

    def learn(
        self,
        order: np.ndarray,
        position: np.ndarray,
        key: int,
        progress: Progress,
        events: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Learn from the examples `order`. Returns each one's loss and hit, before the first loss that is not finite.

        All draws start from `key` (seeding.task_key). events: filled as described in structures.TaskArrays. At a pause,
        `self.underway` remains; the next call with the same `order` continues.
        """
        now = self.underway = self.underway or self._begin(key, len(order), {})
        self.run.draws.task[0] = key
        events = np.zeros((0, 3), np.int64) if events is None else events
        drawn = structures.TaskArrays(order, position, now.losses, now.hits, events)
        while now.done < len(order):
            begin, started = now.done, time.monotonic()
            end = min(begin + self.piece, (begin // CHUNK + 1) * CHUNK, len(order))
            settle = end % CHUNK == 0 or end == len(order)
            now.done = kernel.learn(self.run, self.parts, self.examples, drawn, begin, end, settle)
            self._adapt_piece(time.monotonic() - started)
            pause = progress(now.done - begin)
            if now.done < end:
                break
            if pause and end < len(order):
                return now.losses[:end], now.hits[:end]
        self.underway = None
        return now.losses[: now.done], now.hits[: now.done]

    @property
    def paused(self) -> bool:
        """Whether a task is partly learned."""
        return self.underway is not None

    def _begin(self, key: int, examples: int, measured: Row) -> "Underway":
        for part in self.arrays_of_parts:
            part.begin_task(key)
        return Underway(measured, np.zeros(examples), np.zeros(examples, bool))

    def _adapt_piece(self, seconds: float) -> None:
        """Make a call of the kernel take about PIECE_SECONDS. The cuts between calls change no result."""
        if seconds < base.PIECE_SECONDS / 2:
            self.piece = min(2 * self.piece, CHUNK)
        elif seconds > base.PIECE_SECONDS:
            self.piece = max(self.piece // 2, 1)

    def measure(self, task: int, position: np.ndarray) -> Row:
        rows = self.problem.stream.probe(self.seeds[0], task)
        check_images(self.problem, task, rows, "measures")
        wanted = self.problem.measurements.features
        hidden = [h.unsqueeze(0) for h in self.hidden(rows, position)] if wanted else []
        weights = [torch.from_numpy(weight).unsqueeze(0) for weight in self.weights]
        return self.problem.measurements.take(task, hidden, weights)[0]

    def hidden(self, rows: np.ndarray, position: np.ndarray) -> list[torch.Tensor]:
        """Activations `[N, width]` of the bare network on the examples `rows`, for each hidden layer.

        Valid only between tasks, when the weights in memory are the true ones: no work is deferred, and the scale is 1.
        """
        network, width = self.network, self.architecture.width
        inputs, outputs = network.strides[:2]
        first = network.weights[: inputs * outputs].reshape(inputs, outputs)[position]
        z = torch.empty(len(rows), outputs, dtype=self.problem.dtype)
        kernel.first_sums(first, self.examples, rows, z.numpy())
        z = z[:, :width]  # without the padding
        hidden: list[torch.Tensor] = []
        for layer in range(self.architecture.depth):
            if layer:
                torch.mm(hidden[-1], torch.from_numpy(self.weights[layer]), out=z)
            if self.parts.normalization is not None:
                self.parts.normalization.apply(z, network.gains, layer, self.problem.learner.normalization_epsilon)
            z += torch.from_numpy(network.biases[layer, :width])
            hidden.append(activation(self.architecture.activation).function(z))
        return hidden

    def _arrays(self, within_task: bool) -> State:
        """Everything that lasts from one update to the next. within_task: also what the end of a task settles."""
        kept = {"weights": self.network.weights, "biases": self.network.biases}
        if len(self.network.gains):
            kept["normalization_gain"] = self.network.gains
        if within_task:
            kept["task_scale"] = self.network.scale
        parts = self.parts
        for part in (parts.optimizer, parts.normalization, parts.magnitudes):
            kept |= part.state(within_task) if part is not None else {}
        for i, part in enumerate(parts.mechanisms):  # two of them may have a state of the same name
            kept |= {f"mechanism_{i}_{name}": array for name, array in part.state(within_task).items()}
        return kept

    def state(self, run: int) -> State:
        now = self.underway
        state = {name: array.copy() for name, array in self._arrays(now is not None).items()}
        state["position"] = np.array(now.done if now else 0)
        if now:
            state["task_losses"], state["task_hits"] = now.losses[: now.done].copy(), now.hits[: now.done].copy()
            state["task_about"] = as_array(now.measured)
        return state

    def load(self, run: int, state: State) -> None:
        position = int(state["position"])
        kept = self._arrays(position > 0)
        expected = {name: (array.shape, array.dtype) for name, array in kept.items()}
        expected["position"] = (), np.dtype(np.int64)
        if position:
            expected |= {"task_losses": ((position,), np.dtype(float)), "task_hits": ((position,), np.dtype(bool))}
            expected["task_about"] = state["task_about"].shape, np.dtype(np.uint8)
        check_state(state, expected)
        if position:
            self.underway = self._restored(position, state)
        for name, array in kept.items():
            array[...] = state[name]

    def _restored(self, position: int, state: State) -> "Underway":
        """Return the task that was underway. Raises ValueError if its position does not fit."""
        about, longest = from_array(state["task_about"]), max(lengths(self.problem.stream))
        if not 0 < position < longest:
            raise ValueError(f"its position is {position} in a task of {longest} examples")
        now = Underway(about, np.zeros(longest), np.zeros(longest, bool), position)
        now.losses[:position], now.hits[:position] = state["task_losses"], state["task_hits"]
        return now


@dataclass
class Underway:
    """A partly learned task: its metrics and the outcomes so far."""

    measured: Row
    losses: np.ndarray
    hits: np.ndarray
    done: int = 0
