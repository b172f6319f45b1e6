"""The ensemble engine: PyTorch, all runs of a job at once along a leading run dimension, any learner, any device."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.engines.base import Problem, Progress, Row, State, task_row
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import build_step
from cbp_experiments.networks import StackedMLP
from cbp_experiments.streams import Task

REPORT_EVERY = 500  # updates between calls of progress


class Ensemble:
    """Group of all given seeds (engines.base.Group). Runs share nothing: each has its own weights and stream."""

    def __init__(self, problem: Problem, seeds: Sequence[int]):
        self.problem = problem
        self.seeds = list(seeds)
        self.device = choose_device(problem.options.device)
        weights = [problem.initial_weights(seed) for seed in seeds]
        self.network = StackedMLP(problem.network, weights, self.device, problem.dtype)
        self.step = build_step(problem.learner, self.network, problem.bounds())
        self.alive = torch.ones(len(seeds), dtype=torch.bool)
        self.images = torch.from_numpy(problem.stream.images).to(self.device)
        self.labels = torch.from_numpy(problem.stream.labels).to(self.device)

    def run_task(self, task: int, progress: Progress) -> list[Row | None]:
        stream = self.problem.stream
        tasks = [stream.task(seed, task) for seed in self.seeds]
        measured = self._measure(task, tasks)
        self.step.begin_task([self.problem.generator(seed, "learner", task) for seed in self.seeds])
        order, permutation = self._stack(task.order for task in tasks), self._permutation(tasks)
        loss = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        correct = torch.zeros(len(self.seeds), dtype=torch.int64, device=self.device)
        for i, batch in enumerate(order.split(stream.batch_size, dim=1)):
            losses, right = self.step(self._inputs(batch, permutation), self.labels[batch])
            loss += losses * batch.shape[1]
            correct += right
            if (i + 1) % REPORT_EVERY == 0:
                progress(REPORT_EVERY * len(self.seeds))
        progress((i + 1) % REPORT_EVERY * len(self.seeds))
        self.alive &= torch.isfinite(loss).cpu()
        means = zip(
            (correct.double() / stream.task_length).tolist(),
            (loss / stream.task_length).tolist(),
            measured,
            strict=True,
        )
        return [task_row(stream, task, *mean) if ok else None for ok, mean in zip(self.alive, means, strict=True)]

    def _measure(self, task: int, tasks: list[Task]) -> list[Row]:
        rows = self._stack(self.problem.stream.probe(seed, task) for seed in self.seeds)
        with torch.no_grad():
            _, hidden = self.network.forward(self._inputs(rows, self._permutation(tasks)))
            return self.problem.measurements.take(task, hidden, self.network.weights)

    def _inputs(self, rows: Tensor, permutation: Tensor | None) -> Tensor:
        """`rows [R, B]` of the images, each run's pixels in its own order: `[R, B, features]`."""
        images = self.images[rows]
        if permutation is not None:
            images = images.gather(2, permutation.unsqueeze(1).expand_as(images))
        return images.to(self.problem.dtype) * self.problem.stream.scale

    def _permutation(self, tasks: list[Task]) -> Tensor | None:
        permutations = [task.permutation for task in tasks if task.permutation is not None]
        return self._stack(permutations) if permutations else None

    def _stack(self, arrays: Iterable[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(list(arrays))).to(self.device)

    def _tensors(self) -> dict[str, Tensor]:
        """All that lasts from one update to the next, `[R, ...]`."""
        tensors = {f"parameter_{i}": parameter for i, parameter in enumerate(self.network.parameters)}
        tensors |= {f"optimizer_{name}": tensor for name, tensor in self.step.optimizer.state.items()}
        for i, mechanism in enumerate(self.step.mechanisms):
            tensors |= {f"mechanism_{i}_{name}": tensor for name, tensor in mechanism.state.items()}
        return tensors

    def state(self, run: int) -> State:
        return {name: tensor[run].detach().cpu().numpy().copy() for name, tensor in self._tensors().items()}

    def load(self, run: int, state: State) -> None:
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor[run] = torch.from_numpy(state[name]).to(tensor)


def choose_device(name: str) -> torch.device:
    """auto: the GPU if PyTorch sees one. Raises ConfigError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"engine.device={name} is not usable here ({str(error).splitlines()[0]}); try cpu") from error
    return device
