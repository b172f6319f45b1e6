"""The online engine: mini-batch 1 on the CPU, compiled (compiled/kernel.py). Each run is a group, on one thread."""

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from cbp_experiments.engines import base
from cbp_experiments.engines.abilities import check_tasks
from cbp_experiments.engines.base import Problem, Progress, Row, State, as_array, check_state, from_array, task_row
from cbp_experiments.engines.compiled import kernel, structures
from cbp_experiments.engines.compiled.adam import SMALLEST, updates_to_fade
from cbp_experiments.engines.compiled.replacing import RESUM_EVERY
from cbp_experiments.learners import Learner
from cbp_experiments.networks import MLP

CHUNK = 10 * RESUM_EVERY  # updates after which everything that the kernel puts off is settled
FIRST_PIECE = 100  # updates of the first call of the kernel, whose speed is not known yet
LANE = 16  # a row is padded to a multiple of this many weights, one AVX-512 register in float32


class OnlineRun:
    """Group of one seed (engines.base.Group)."""

    def __init__(self, problem: Problem, examples: structures.Examples, seed: int):
        assert isinstance(problem.network, MLP)
        self.problem, self.architecture = problem, problem.network
        self.examples = examples
        self.seeds = [seed]
        self.dtype = np.dtype(problem.options.dtype)
        sizes = self.architecture.sizes(problem.inputs, problem.stream.classes)
        self.network = _network(sizes, structures.ACTIVATIONS.index(self.architecture.activation), self.dtype)
        for view, weight in zip(self.weights, problem.initial_weights(seed), strict=True):
            view[:] = weight
        self.update = _update(problem.learner, self.dtype)
        self.normalization = _normalization(problem.learner, self.network)
        self.noise = _noise(problem.learner, self.network)
        self.adam = _adam(problem.learner, self.network)
        self.replacement = _replacement(problem.learner, self.network, problem.bounds())
        self.scratch = _scratch(self.network)
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
        if len(losses) < stream.task_length:
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
            self.noise.counter[0] = rng.integers(2**63)
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
        arrays = {"weights": self.network.weights, "biases": self.network.biases}
        names: tuple[str, ...]
        if self.normalization.on:
            names = ("gain", "mean", "variance", "error_y", "error_1")
            names += ("first", "second") if self.adam.on else ()
            arrays |= {f"normalization_{name}": getattr(self.normalization, name) for name in names}
        if self.problem.learner.replacement_rate:
            names = ("utility", "mean_activation", "correction", "age", "to_replace")
            arrays |= {name: getattr(self.replacement, name) for name in names}
        if self.adam.on:
            names = ("first", "second", "first_bias", "second_bias", "correction1", "correction2")
            arrays |= {f"adam_{name}": getattr(self.adam, name) for name in names}
        if within_task:
            replacement, noise, adam = self.replacement, self.noise, self.adam
            arrays |= {"task_scale": self.network.scale, "task_replaced": replacement.replaced}
            arrays |= {"task_incoming": replacement.incoming, "task_outgoing": replacement.outgoing}
            arrays |= {f"task_noise_{name}": getattr(noise, name) for name in ("variance", "settled", "counter")}
            arrays |= {f"task_adam_{name}": getattr(adam, name) for name in ("updates", "last", "rates", "bends")}
        return arrays

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
        arrays = self._arrays(position > 0)
        expected = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        expected["position"] = (), np.dtype(np.int64)
        if position:
            expected |= {"task_losses": ((position,), np.dtype(float)), "task_hits": ((position,), np.dtype(bool))}
            expected["task_about"] = state["task_about"].shape, np.dtype(np.uint8)
        check_state(state, expected)
        if position:
            self.underway = self._restored(position, state)
        for name, array in arrays.items():
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


def sparse_examples(problem: Problem) -> structures.Examples:
    """The stream's images without their zeros, shared by all runs."""
    stream, dtype = problem.stream, np.dtype(problem.options.dtype)
    rows, features = np.nonzero(stream.images)
    values = stream.images[rows, features].astype(dtype) * dtype.type(stream.scale)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(stream.images)))])
    return structures.Examples(starts, features.astype(np.int32), values, stream.labels)


def _network(sizes: list[int], activation: int, dtype: np.dtype) -> structures.Network:
    strides = [-(-size // LANE) * LANE for size in sizes]
    lengths = [a * b for a, b in pairwise(strides)]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    weights = _zeros_in_lines(sum(lengths), dtype)
    biases = np.zeros((len(lengths), max(strides)), dtype)
    return structures.Network(np.array(sizes), np.array(strides), starts, weights, np.ones(1), biases, activation)


def _zeros_in_lines(length: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin with a cache line, so that each row does. (np.empty asks for huge pages, np.zeros does not.)"""
    room = np.empty(length + 64 // dtype.itemsize, dtype)
    room[:] = 0
    begin = -room.ctypes.data % 64 // dtype.itemsize
    return room[begin : begin + length]


def _update(learner: Learner, dtype: np.dtype) -> structures.Update:
    adam = learner.optimizer == "adam"  # whose weight decay is part of the gradient
    shrink = 1.0 if adam else 1 - learner.step_size * learner.weight_decay
    return structures.Update(dtype.type(learner.step_size), shrink, learner.dropout)


def _normalization(learner: Learner, network: structures.Network) -> structures.Normalization:
    on, dtype, a = learner.normalization == "online", network.weights.dtype, learner.normalization_decay
    layers, widest = len(network.starts) - 1 if on else 0, max(network.strides) if on else 0
    moments = layers if learner.optimizer == "adam" else 0

    def full(value: float, rows: int = layers) -> np.ndarray:
        return np.full((rows, widest), value, dtype)

    return structures.Normalization(
        on=on,
        reset=learner.reset_normalization,
        decay=np.array([a, 1 - a, a * (1 - a)], dtype),
        constants=np.array([1 - learner.normalization_backward_decay, learner.normalization_epsilon], dtype),
        gain=full(1),
        mean=full(0),
        variance=full(1),
        error_y=full(0),
        error_1=full(0),
        first=full(0, moments),
        second=full(0, moments),
        y=full(0),
        inverse=full(0),
        shift_step=np.zeros(widest, dtype),
        gain_step=np.zeros(widest, dtype),
    )


def _noise(learner: Learner, network: structures.Network) -> structures.Noise:
    widest, outputs = max(network.strides), max(network.strides[1:])
    return structures.Noise(
        std=learner.perturbation_std,
        variance=np.zeros(1),
        settled=np.zeros((len(network.starts), widest)),
        counter=np.zeros(1, np.uint64),
        normals=np.zeros(outputs, np.float32),
        bits=np.zeros(outputs // 2, np.uint64),
    )


def _adam(learner: Learner, network: structures.Network) -> structures.Adam:
    on, dtype = learner.optimizer == "adam", network.weights.dtype
    widest, layers = max(network.strides), len(network.starts)
    fade = updates_to_fade(learner.beta1, learner.beta2, dtype, most=CHUNK)

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape if on else [0] * len(shape), dtype)

    corrections = (layers + 1, widest) if learner.replacement_rate else (1, 1)
    return structures.Adam(
        on=on,
        eager=on and bool(learner.replacement_rate or learner.weight_decay),
        fade=CHUNK if learner.weight_decay else fade,  # whose gradient is never 0
        betas=np.array([learner.beta1, 1 - learner.beta1, learner.beta2, 1 - learner.beta2], dtype),
        constants=np.array([learner.epsilon, learner.weight_decay, SMALLEST], dtype),
        first=zeros(len(network.weights)),
        second=zeros(len(network.weights)),
        first_bias=zeros(layers, widest),
        second_bias=zeros(layers, widest),
        correction1=zeros(*corrections),
        correction2=zeros(*corrections),
        inverse1=zeros(layers + 1, widest),
        inverse2=zeros(layers + 1, widest),
        updates=np.zeros(1, np.int64),
        last=np.zeros((layers, widest), np.int64),
        rates=zeros(CHUNK),
        bends=zeros(CHUNK),
        root=zeros(widest),
        moved=zeros(widest),
    )


def _replacement(learner: Learner, network: structures.Network, bounds: list[float]) -> structures.Replacement:
    dtype, widest, layers = network.weights.dtype, max(network.strides), len(network.starts)
    if learner.replacement_rate == 0:
        widest = layers = 0
    eta = learner.decay_rate
    hidden = (max(layers - 1, 0), widest)
    return structures.Replacement(
        rate=learner.replacement_rate,
        maturity_threshold=learner.maturity_threshold,
        utility_kind=structures.UTILITIES.index(learner.utility),
        decay=np.array([eta, 1 - eta], dtype),
        bounds=np.array(bounds),
        utility=np.zeros(hidden, dtype),
        mean_activation=np.zeros(hidden, dtype),
        correction=np.zeros(hidden, dtype),
        age=np.zeros(hidden, np.int64),
        to_replace=np.zeros(hidden[0]),
        incoming=np.zeros((layers, widest), dtype),
        outgoing=np.zeros((layers, widest), dtype),
        replaced=np.zeros(1, np.int64),
    )


def _scratch(network: structures.Network) -> structures.Scratch:
    dtype, widest, layers = network.weights.dtype, max(network.strides), len(network.starts)
    return structures.Scratch(
        h=np.zeros((layers + 1, widest), dtype),
        slope=np.zeros((layers + 1, widest), dtype),
        step=np.zeros((layers + 1, widest), dtype),
        rows=np.zeros((layers, widest), np.int64),
        x=np.zeros((layers, widest), dtype),
        active=np.zeros(layers, np.int64),
        back=np.zeros(widest, dtype),
    )
