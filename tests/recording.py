"""Engines that keep what they see at every update: the same code, with its losses and replacements written down."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cbp_experiments.engines.arrays import sparse_examples
from cbp_experiments.engines.base import Problem, Progress, Row
from cbp_experiments.engines.compiled.adam_rows import AdamArrays
from cbp_experiments.engines.compiled.replacing import ReplacementArrays
from cbp_experiments.engines.compiled.structures import CHUNK
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.engines.online import OnlineRun
from cbp_experiments.learners import Step
from cbp_experiments.learners.replacement import Replacing

Kept = dict[str, list[np.ndarray]]  # what a run has come to, by layer
NORMALIZED = ("mean", "variance", "error_y", "error_1")
TRACKED = ("utility", "mean_activation", "age")


def replacements(actor: Replacing) -> list[tuple[int, int, int]]:
    """(run, layer, unit) of the last update, in the order of the layers, runs and ranks."""
    return [
        (run, layer, unit)
        for layer, units in actor.replaced
        for run, of_run in enumerate(units.tolist())
        for unit in of_run
    ]


class RecordedStep(Step):
    """Takes the place of an ensemble's step."""

    def __init__(self, step: Step):
        vars(self).update(vars(step))
        self.losses: list[np.ndarray] = []
        self.right: list[np.ndarray] = []
        self.events: list[tuple[int, int, int, int]] = []

    def learn(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        losses, right = super().learn(x, y)
        self.losses.append(losses.numpy().copy())
        self.right.append(right.numpy().copy())
        return losses, right

    def between_updates(self) -> None:
        super().between_updates()
        for actor in self.actors:
            if isinstance(actor, Replacing):
                self.events += [(run, len(self.losses) - 1, layer, unit) for run, layer, unit in replacements(actor)]


class RecordedEnsemble(Ensemble):
    """`losses` and `hits` (right predictions) of each update, `events [events, 3]`: update, hidden layer, unit."""

    step: RecordedStep

    def __init__(self, problem: Problem, seeds: Sequence[int]):
        super().__init__(problem, seeds)
        self.step = RecordedStep(self.step)

    def losses(self, run: int = 0) -> np.ndarray:
        return np.array(self.step.losses, np.float64)[:, run]

    def hits(self, run: int = 0) -> np.ndarray:
        return np.array(self.step.right)[:, run]

    def events(self, run: int = 0) -> np.ndarray:
        return np.array([event[1:] for event in self.step.events if event[0] == run], np.int64).reshape(-1, 3)

    def kept(self, run: int = 0) -> Kept:
        kept = {
            "weight": [weight[run].detach().numpy() for weight in self.network.weights],
            "bias": [bias[run].detach().numpy() for bias in self.network.biases],
        }
        if self.network.normalization:
            kept["gain"] = [gain[run].detach().numpy() for gain, *_ in self.network.of_normalization]
            state = self.network.normalization.state
            for name in NORMALIZED:
                tensors = [state.get(f"{name}_{layer}") for layer in range(self.problem.network.depth)]
                kept[name] = [tensor[run].numpy() for tensor in tensors if tensor is not None]
        for actor in self.step.actors:
            if isinstance(actor, Replacing):
                for name in TRACKED:
                    layers = range(self.problem.network.depth)
                    kept[name] = [actor.state[f"{name}_{layer}"][run].numpy() for layer in layers]
                kept["to_replace"] = [actor.state["to_replace"][run].numpy()]
        return kept


class RecordedRun(OnlineRun):
    """The same of an online run."""

    def __init__(self, problem: Problem, seed: int):
        super().__init__(problem, sparse_examples(problem), seed)
        self._losses: list[np.ndarray] = []
        self._hits: list[np.ndarray] = []
        self._events: list[np.ndarray] = []

    def learn(
        self,
        order: np.ndarray,
        position: np.ndarray,
        key: int,
        progress: Progress,
        events: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        assert len(order) <= CHUNK, "events are counted from the beginning of a chunk"
        units = self.problem.network.width * self.problem.network.depth
        room = (len(order) * units + 1) * self.problem.learner.replacement_rate + self.problem.network.depth
        written = np.full((int(room), 3), -1)
        losses, hits = super().learn(order, position, key, progress, written)
        written = written[written[:, 0] >= 0]
        written[:, 0] += sum(map(len, self._losses))
        self._losses.append(losses)
        self._hits.append(hits)
        self._events.append(written)
        return losses, hits

    def losses(self, run: int = 0) -> np.ndarray:
        return np.concatenate(self._losses)

    def hits(self, run: int = 0) -> np.ndarray:
        return np.concatenate(self._hits)

    def events(self, run: int = 0) -> np.ndarray:
        return np.concatenate(self._events)

    def kept(self, run: int = 0) -> Kept:
        sizes = self.network.sizes[1:]
        kept = {"weight": self.weights, "bias": [b[:n] for b, n in zip(self.network.biases, sizes, strict=True)]}
        if normalization := self.parts.normalization:
            per_step = 1 if isinstance(self.parts.optimizer, AdamArrays) else self.problem.learner.step_size
            for name in ("gain", *NORMALIZED):
                of_layers = self.network.gains if name == "gain" else getattr(normalization, name)
                kept[name] = [rows[:n] for rows, n in zip(of_layers, sizes[:-1], strict=True)]
            for name in ("error_y", "error_1"):
                kept[name] = [rows / per_step for rows in kept[name]]
        if self.problem.learner.replacement_rate:
            replacement = self.part(ReplacementArrays)
            for name in TRACKED:
                kept[name] = [rows[:n] for rows, n in zip(getattr(replacement, name), sizes[:-1], strict=True)]
            kept["to_replace"] = [replacement.to_replace]
        return kept


Recorded = RecordedEnsemble | RecordedRun


def learn_all(group: Recorded) -> list[list[Row | None]]:
    """The rows of all tasks of the group's stream: for each task, one a run."""
    return [group.run_task(task, lambda updates: None) for task in range(group.problem.stream.tasks)]
