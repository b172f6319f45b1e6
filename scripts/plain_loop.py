"""The plain loop that the engines are measured against: the experiments as a careful PyTorch user would write them."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbp_experiments.learners import Learner
from cbp_experiments.networks import MLP, Architecture, ConvNet
from cbp_experiments.networks.conv import COLOURS, KERNELS, positions

Weighted = nn.Linear | nn.Conv2d


class PlainRun:
    """nn.Sequential, autograd and torch.optim; records online accuracy and loss."""

    def __init__(self, learner: Learner, architecture: Architecture, inputs: int, classes: int):
        torch.manual_seed(0)
        self.learner = learner
        self.network = sequential(learner, architecture, inputs, classes)
        if learner.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
                self.network.parameters(), lr=learner.step_size, weight_decay=learner.weight_decay
            )
        else:
            self.optimizer = torch.optim.SGD(
                self.network.parameters(), learner.step_size, learner.momentum, weight_decay=learner.weight_decay
            )
        self.replacement = PlainReplacement(learner, self.network) if learner.replacement_rate else None

    def to(self, device: str) -> "PlainRun":
        """Move to a device, before the first update."""
        self.network.to(device)
        if self.replacement:
            self.replacement = PlainReplacement(self.learner, self.network)
        return self

    def learn(self, x: Tensor, y: Tensor, batch_size: int = 1) -> tuple[float, float]:
        """Update on mini-batches of `x [N, ...]`, `y [N]`. Returns online accuracy in percent, and the mean loss."""
        correct = torch.zeros((), device=x.device)
        total = torch.zeros((), device=x.device)
        for examples, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            logits, hidden = self.forward(examples)
            loss = F.cross_entropy(logits, labels)
            correct += (logits.argmax(dim=1) == labels).sum()
            total += loss.detach() * len(labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.learner.perturbation_std:
                with torch.no_grad():
                    for parameter in self.network.parameters():
                        parameter.add_(torch.randn_like(parameter), alpha=self.learner.perturbation_std)
            if self.replacement:
                self.replacement.after_update(hidden)
        return 100 * correct.item() / len(y), total.item() / len(y)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden = []
        for layer in self.network:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                hidden.append(x.detach())
        return x, hidden


def sequential(learner: Learner, architecture: Architecture, inputs: int, classes: int) -> nn.Sequential:
    """The network, with the layers that the learner adds."""
    if isinstance(architecture, ConvNet):
        width = architecture.width
        units = [COLOURS, width // 4, width // 2, width]
        layers: list[nn.Module] = []
        for (n_in, n_out), kernel in zip(pairwise(units), KERNELS, strict=True):
            layers += [*hidden_layer(learner, nn.Conv2d(n_in, n_out, kernel)), nn.MaxPool2d(2)]
        sizes = [width * positions(inputs), width, width, classes]
        layers.append(nn.Flatten())
    else:
        assert isinstance(architecture, MLP)
        layers, sizes = [], architecture.sizes(inputs, classes)
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += hidden_layer(learner, nn.Linear(n_in, n_out))
    network = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
    if isinstance(architecture, MLP):
        for module in network:
            if isinstance(module, nn.Linear):
                last = module.out_features == classes
                nn.init.kaiming_uniform_(module.weight, nonlinearity="linear" if last else "relu")
                nn.init.zeros_(module.bias)
    return network


def hidden_layer(learner: Learner, weighted: Weighted) -> list[nn.Module]:
    units = weighted.weight.shape[0]
    layers: list[nn.Module] = [weighted]
    if learner.normalization == "batch":
        layers.append(nn.BatchNorm2d(units) if isinstance(weighted, nn.Conv2d) else nn.BatchNorm1d(units))
    if learner.normalization == "online":
        layers.append(PlainOnlineNorm(units, learner))
    layers.append(nn.ReLU())
    if learner.dropout:
        layers.append(nn.Dropout(learner.dropout))
    return layers


class PlainOnlineNorm(nn.Module):
    """Online normalization (Chiley et al. 2019) of `[examples, units, ...]`."""

    mean: Tensor
    variance: Tensor
    error_y: Tensor
    error_1: Tensor

    def __init__(self, units: int, learner: Learner):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(units)), nn.Parameter(torch.zeros(units))
        self.forward_decay, self.epsilon = learner.normalization_decay, learner.normalization_epsilon
        self.rate = 1 - learner.normalization_backward_decay
        for name, value in {"mean": 0.0, "variance": 1.0, "error_y": 0.0, "error_1": 0.0}.items():
            self.register_buffer(name, torch.full((units,), value))

    def forward(self, x: Tensor) -> Tensor:
        y = Controlled.apply(x, self)
        with torch.no_grad():
            a = self.forward_decay
            within, now = torch.var_mean(x, dim=others(x), correction=0)
            self.variance.mul_(a).add_((1 - a) * (within + a * (now - self.mean) ** 2))
            self.mean.lerp_(now, 1 - a)
        return along(self.gain, x) * y + along(self.bias, x)


class Controlled(torch.autograd.Function):
    """Standardizes x; controls the gradient in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: PlainOnlineNorm) -> Tensor:
        inverse = along((norm.variance + norm.epsilon).rsqrt(), x)
        y = (x - along(norm.mean, x)) * inverse
        ctx.norm, ctx.y, ctx.inverse = norm, y, inverse
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        norm, y, examples = ctx.norm, ctx.y, len(gradient)
        of_y = gradient - norm.rate / examples * along(norm.error_y, y) * y
        norm.error_y += examples * (of_y * y).mean(dim=others(y))
        of_x = of_y * ctx.inverse - norm.rate / examples * along(norm.error_1, y)
        norm.error_1 += examples * of_x.mean(dim=others(y))
        return of_x, None


def along(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 2))


def others(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


class PlainReplacement:
    """Continual backpropagation (adaptable contribution), vectorized over the units of a layer."""

    def __init__(self, learner: Learner, network: nn.Sequential):
        self.learner = learner
        self.layers = [layer for layer in network if isinstance(layer, Weighted)]
        self.utility, self.activation, self.age = (
            [torch.zeros_like(layer.weight.flatten(1)[:, 0]) for layer in self.layers[:-1]] for _ in range(3)
        )
        self.due = [0.0] * (len(self.layers) - 1)

    @torch.no_grad()
    def after_update(self, hidden: list[Tensor]) -> None:
        for i, h in enumerate(hidden):
            self.track(i, h)
        for i in range(len(hidden)):
            self.replace(i)

    def track(self, i: int, h: Tensor) -> None:
        decay = self.learner.decay_rate
        h = h.transpose(0, 1).flatten(1)  # units first, then examples and positions
        self.age[i] += 1
        self.activation[i].mul_(decay).add_(h.mean(dim=1), alpha=1 - decay)
        centred = (h.T - self.activation[i] / (1 - decay ** self.age[i])).abs().mean(dim=0)
        incoming = self.layers[i].weight.abs().flatten(1).mean(dim=1)
        outgoing = self.outgoing(i).abs().mean(dim=(0, 2))
        self.utility[i].mul_(decay).add_(centred * outgoing / incoming, alpha=1 - decay)

    def outgoing(self, i: int) -> Tensor:
        """Weights out of the units of hidden layer i, `[out, units, ...]`; a filter has one for each position."""
        weight = self.layers[i + 1].weight
        return weight.reshape(len(weight), len(self.age[i]), -1)

    def replace(self, i: int) -> None:
        eligible = torch.where(self.age[i] > self.learner.maturity_threshold)[0]
        self.due[i] += self.learner.replacement_rate * len(eligible)
        count = int(self.due[i])
        if count == 0:
            return
        self.due[i] -= count
        utility = self.utility[i][eligible] / (1 - self.learner.decay_rate ** self.age[i][eligible])
        units = eligible[torch.topk(utility, min(count, len(eligible)), largest=False).indices]
        layer = self.layers[i]
        layer.weight[units] = nn.init.kaiming_uniform_(torch.empty_like(layer.weight[units]), nonlinearity="relu")
        assert layer.bias is not None
        layer.bias[units] = 0.0
        self.outgoing(i)[:, units] = 0.0
        for kept in (self.utility, self.activation, self.age):
            kept[i][units] = 0.0
