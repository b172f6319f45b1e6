"""Problems of the engines for a user's module: torch.nn.Sequential, torch's optimizers, a plain loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import cbp_experiments as cbp
from cbp_experiments.engines import Problem
from cbp_experiments.networks import ConvNet


def sequential(problem: Problem, seed: int) -> nn.Sequential:
    """The initial network of a run, with the learner's normalization."""
    conv, last = isinstance(problem.network, ConvNet), problem.network.depth
    layers: list[nn.Module] = []
    for i, (w, b) in enumerate(zip(problem.initial_weights(seed), problem.initial_biases(seed), strict=True)):
        weight, bias = torch.from_numpy(w if w.ndim == 4 else w.T), torch.from_numpy(b)
        normalization = normalization_of(problem, len(bias)) if i < last else None
        centred = isinstance(normalization, nn.BatchNorm1d)  # the bias comes after it
        layer: nn.Linear | nn.Conv2d
        if weight.ndim == 4:
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dtype=problem.dtype)
        else:
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=not centred, dtype=problem.dtype)
        layer.weight.data.copy_(weight)
        with_bias = normalization if centred and normalization else layer
        with_bias.get_parameter("bias").data.copy_(bias)
        layers += [*([nn.Flatten()] if conv and weight.ndim == 2 else []), layer]
        if i < last:
            layers += [*([normalization] if normalization else []), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if weight.ndim == 4 else []
    return nn.Sequential(*layers)


def normalization_of(problem: Problem, units: int) -> nn.BatchNorm1d | nn.LayerNorm | None:
    learner = problem.learner
    if learner.normalization == "batch":
        momentum = 1 - learner.normalization_decay
        return nn.BatchNorm1d(units, learner.normalization_epsilon, momentum, dtype=problem.dtype)
    if learner.normalization == "layer":
        return nn.LayerNorm(units, learner.normalization_epsilon, dtype=problem.dtype)
    return None


def optimizer_of(problem: Problem, module: nn.Module) -> torch.optim.Optimizer:
    learner, parameters = problem.learner, module.parameters()
    if learner.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=learner.step_size, momentum=learner.momentum)
    betas, decoupled = (learner.beta1, learner.beta2), learner.optimizer == "adamw"
    return cbp.Adam(
        parameters,
        lr=learner.step_size,
        betas=betas,
        eps=learner.epsilon,
        weight_decay=learner.weight_decay,
        decoupled_weight_decay=decoupled,
    )


def kaiming(layer: nn.Module) -> float:
    """The bound of the package's fully connected networks with ReLU."""
    return float((6 / layer.get_parameter("weight").shape[1]) ** 0.5)


@dataclass
class Trained:
    """The run of a problem with this seed; `events` as in tests.recording."""

    problem: Problem
    seed: int
    losses: list[float] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        learner, conv = self.problem.learner, isinstance(self.problem.network, ConvNet)
        self.module = sequential(self.problem, self.seed)
        self.optimizer = optimizer_of(self.problem, self.module)
        self.replacer = cbp.UnitReplacer(
            self.module,
            self.optimizer,
            replacement_rate=learner.replacement_rate,
            maturity_threshold=learner.maturity_threshold,
            decay_rate=learner.decay_rate,
            utility=learner.utility,
            optimizer_state=learner.optimizer_state,
            reset_momentum=learner.reset_momentum,
            reset_normalization=learner.reset_normalization,
            mature_units_only=not conv,
            bound=None if conv else kaiming,
            seed=self.seed,
        )

    def draw_from(self, uniform: Callable[[Sequence[int]], np.ndarray]) -> None:
        """Use other uniform numbers in [0, 1) for the fresh weights."""

        def drawn(purpose: str, layer: int, shape: Sequence[int]) -> torch.Tensor:
            return torch.from_numpy(uniform(shape)).unsqueeze(0)

        self.replacer._resetting.draws.uniform = drawn  # type: ignore[assignment,method-assign]

    def learn_all(self) -> None:
        for task in range(self.problem.stream.tasks):
            self.learn(task)

    def learn(self, task: int) -> None:
        stream = self.problem.stream
        drawn = stream.task(self.seed, task)
        for rows in np.split(drawn.order, range(stream.batch_size, len(drawn.order), stream.batch_size)):
            images = stream.images[rows] * stream.scale
            if drawn.permutation is not None:
                images = images[:, drawn.permutation]
            x = torch.from_numpy(images).to(self.problem.dtype)
            if isinstance(self.problem.network, ConvNet):
                x = x.view(-1, 3, 32, 32)
            self.update(x, torch.from_numpy(stream.labels[rows]))

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        loss = F.cross_entropy(self.module(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.replacer.step()
        layers = [units.layer for units in self.replacer.units]
        for name, units in self.replacer.replaced.items():
            self.events += [(len(self.losses), layers.index(name), unit) for unit in units]
        self.losses.append(loss.item())
