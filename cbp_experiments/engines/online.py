"""The online engine: mini-batch 1 on the CPU, compiled (compiled/kernel.py). Each run is a group, on one thread."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from cbp_experiments.engines import arrays, base
from cbp_experiments.engines.abilities import check_rows, check_tasks
from cbp_experiments.engines.base import Problem, Progress, Row, State, as_array, check_state, from_array, task_row
from cbp_experiments.engines.compiled import kernel, structures
from cbp_experiments.engines.compiled.normals import new_generators
from cbp_experiments.networks import MLP

CHUNK = arrays.CHUNK  # updates after which everything that the kernel puts off is settled
FIRST_PIECE = 100  # updates of the first call of the kernel, whose speed is not known yet


class OnlineRun:
    """Group of one seed (engines.base.Group)."""

    def __init__(self, problem: Problem, examples: structures.Examples, seed: int):
        assert isinstance(problem.network, MLP)
        self.problem, self.architecture = problem, problem.network
        self.examples = examples
        self.seeds = [seed]
        self.dtype = np.dtype(problem.options.dtype)
        sizes = self.architecture.sizes(problem.inputs, problem.stream.classes)
        self.network = arrays.network(sizes, structures.ACTIVATIONS.index(self.architecture.activation), self.dtype)
        for view, weight in zip(self.weights, problem.initial_weights(seed), strict=True):
            view[:] = weight
        self.update = arrays.update(problem.learner, self.dtype)
        self.normalization = arrays.normalization(problem.learner, self.network)
        self.noise = arrays.noise(problem.learner, self.network)
        self.adam = arrays.adam(problem.learner, self.network)
        self.replacement = arrays.replacement(problem.learner, self.network, problem.bounds())
        self.scratch = arrays.scratch(self.network)
        self.underway: Underway | None = None
        self.piece = FIRST_PIECE

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
        check_rows(stream, task, drawn)
        check_tasks("online", task, [drawn])
        position = np.arange(self.problem.inputs)
        if drawn.permutation is not None:
            position = np.argsort(drawn.permutation)
        if self.underway is None:
            measured = self.measure(task, position)
            self.underway = self._begin(self.problem.generator(seed, "learner", task), len(drawn.order), measured)
        now = self.underway
        losses, hits, _ = self.learn(drawn.order, position, now.rng, progress)
        if self.paused:
            return []
        if len(losses) < len(drawn.order):
            return [None]
        return [task_row(stream, task, {"accuracy": float(hits.mean())}, float(losses.mean()), now.measured)]

    def learn(
        self,
        order: np.ndarray,
        position: np.ndarray,
        rng: np.random.Generator,
        progress: Progress,
        events: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Learn from the examples `order`: the losses and hits of each, up to the first loss that is not finite.

        At a pause `self.underway` remains; the next call with the same `order` continues.
        """
        now = self.underway or self._begin(rng, len(order), {})
        self.underway = now
        events = np.zeros((0, 3), np.int64) if events is None else events
        while now.done < len(order):
            begin, started = now.done, time.monotonic()
            end = min(begin + self.piece, (begin // CHUNK + 1) * CHUNK, len(order))
            settle = end % CHUNK == 0 or end == len(order)
            now.done = kernel.learn(
                self.network, self.examples, self.update, self.normalization, self.noise, self.adam, self.replacement,
                self.scratch, order, position, now.rng, begin, end, settle, now.losses, now.hits, events,
            )  # fmt: skip
            self._adapt_piece(time.monotonic() - started)
            pause = progress(now.done - begin)
            if now.done < end:
                break
            if pause and end < len(order):
                return now.losses[:end], now.hits[:end], events
        self.underway = None
        if now.done < len(order):
            return now.losses[: now.done], now.hits[: now.done], events
        return now.losses, now.hits, events[: self.replacement.replaced[0]]

    @property
    def paused(self) -> bool:
        """Whether a task is partly learned."""
        return self.underway is not None

    def _begin(self, rng: np.random.Generator, examples: int, measured: Row) -> "Underway":
        self.replacement.replaced[0] = 0
        if self.noise.std:
            self.noise.generators[:] = new_generators(rng)
        return Underway(measured, rng, np.zeros(examples), np.zeros(examples, bool))

    def _adapt_piece(self, seconds: float) -> None:
        """Let a call of the kernel take PIECE_SECONDS or so; the cuts between calls change no result."""
        if seconds < base.PIECE_SECONDS / 2:
            self.piece = min(2 * self.piece, CHUNK)
        elif seconds > base.PIECE_SECONDS:
            self.piece = max(self.piece // 2, 1)

    def measure(self, task: int, position: np.ndarray) -> Row:
        rows = self.problem.stream.probe(self.seeds[0], task)
        depth, width = self.architecture.depth, self.architecture.width
        hidden = torch.empty(depth, len(rows), width, dtype=self.problem.dtype)
        unused = np.random.default_rng(0)  # the forward pass without dropout draws nothing
        kernel.features(
            self.network, self.examples, self.normalization, self.noise, self.adam, self.scratch,
            rows, position, unused, hidden.numpy(),
        )  # fmt: skip
        weights = [torch.from_numpy(weight).unsqueeze(0) for weight in self.weights]
        return self.problem.measurements.take(task, list(hidden.unsqueeze(1)), weights)[0]

    def _arrays(self, within_task: bool) -> State:
        """All that lasts from one update to the next; `within_task`: also what is settled at the end of a task."""
        kept = {"weights": self.network.weights, "biases": self.network.biases}
        names: tuple[str, ...]
        if self.normalization.on:
            names = ("gain", "mean", "variance", "error_y", "error_1")
            names += ("first", "root") if self.adam.on else ()
            kept |= {f"normalization_{name}": getattr(self.normalization, name) for name in names}
        if self.problem.learner.replacement_rate:
            names = ("utility", "mean_activation", "correction", "age", "to_replace")
            kept |= {name: getattr(self.replacement, name) for name in names}
        if self.adam.on:
            names = ("first", "root", "first_bias", "root_bias", "correction1", "correction2")
            kept |= {f"adam_{name}": getattr(self.adam, name) for name in names}
        if within_task:
            replacement, noise, adam = self.replacement, self.noise, self.adam
            kept |= {"task_scale": self.network.scale, "task_replaced": replacement.replaced}
            kept |= {"task_incoming": replacement.incoming, "task_outgoing": replacement.outgoing}
            kept |= {f"task_noise_{name}": getattr(noise, name) for name in ("variance", "settled", "generators")}
            kept |= {f"task_adam_{name}": getattr(adam, name) for name in ("updates", "last", "rates", "bends", "sums")}
        return kept

    def state(self, run: int) -> State:
        now = self.underway
        state = {name: array.copy() for name, array in self._arrays(now is not None).items()}
        state["position"] = np.array(now.done if now else 0)
        if now:
            state["task_losses"], state["task_hits"] = now.losses[: now.done].copy(), now.hits[: now.done].copy()
            state["task_about"] = as_array({"measured": now.measured, "generator": now.rng.bit_generator.state})
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
        """The task that was underway. Raises ValueError."""
        about, length = from_array(state["task_about"]), self.problem.stream.task_length
        if not 0 < position < length:
            raise ValueError(f"its position is {position} in a task of {length} examples")
        rng = np.random.default_rng(0)
        rng.bit_generator.state = about["generator"]
        now = Underway(about["measured"], rng, np.zeros(length), np.zeros(length, bool), position)
        now.losses[:position], now.hits[:position] = state["task_losses"], state["task_hits"]
        return now


@dataclass
class Underway:
    """A task of which some examples are learned: its metrics, its randomness, the outcomes so far."""

    measured: Row
    rng: np.random.Generator
    losses: np.ndarray
    hits: np.ndarray
    done: int = 0
