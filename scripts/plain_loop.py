"""What the engines are measured against: the experiment as a careful user of PyTorch would write it."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbp_experiments.learners import Learner


class PlainRun:
    """nn.Sequential, autograd, torch.optim, one example an update; online accuracy and loss are recorded."""

    def __init__(self, learner: Learner, width: int, seed: int = 0):
        torch.manual_seed(seed)
        sizes = [784, width, width, width, 10]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
            if learner.dropout:
                layers.append(nn.Dropout(learner.dropout))
        hidden = layers[: -2 if learner.dropout else -1]
        self.network = nn.Sequential(*hidden)
        for layer in self.linear_layers():
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer.out_features == 10 else "relu")
            nn.init.zeros_(layer.bias)
        if learner.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.network.parameters(), lr=learner.step_size)
        else:
            self.optimizer = torch.optim.SGD(
                self.network.parameters(), learner.step_size, learner.momentum, weight_decay=learner.weight_decay
            )
        self.noise = learner.perturbation_std
        self.learner = learner
        self.replacement = PlainReplacement(learner, self.linear_layers()) if learner.replacement_rate else None

    def to(self, device: str) -> "PlainRun":
        """Before the first update."""
        self.network.to(device)
        if self.replacement:
            self.replacement = PlainReplacement(self.learner, self.linear_layers())
        return self

    def linear_layers(self) -> list[nn.Linear]:
        return [layer for layer in self.network if isinstance(layer, nn.Linear)]

    def learn(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """One update for each row of `x [N, 784]`, `y [N]`: the percentage right before it, and the mean loss."""
        correct = torch.zeros((), device=x.device)
        total = torch.zeros((), device=x.device)
        for example, label in zip(x.split(1), y.split(1), strict=True):
            logits, hidden = self.forward(example)
            loss = F.cross_entropy(logits, label)
            correct += (logits.argmax(dim=1) == label).sum()
            total += loss.detach()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.noise:
                with torch.no_grad():
                    for parameter in self.network.parameters():
                        parameter.add_(torch.randn_like(parameter), alpha=self.noise)
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


class PlainReplacement:
    """Continual backpropagation (adaptable contribution) on nn.Linear layers, vectorized over the units of a layer."""

    def __init__(self, learner: Learner, layers: list[nn.Linear]):
        self.learner, self.layers = learner, layers
        self.utility, self.activation, self.age = ([torch.zeros_like(n.bias) for n in layers[:-1]] for _ in range(3))
        self.due = [0.0] * (len(layers) - 1)

    @torch.no_grad()
    def after_update(self, hidden: list[Tensor]) -> None:
        for i, h in enumerate(hidden):
            self.track(i, h)
        for i in range(len(hidden)):
            self.replace(i)

    def track(self, i: int, h: Tensor) -> None:
        decay = self.learner.decay_rate
        self.age[i] += 1
        self.activation[i].mul_(decay).add_(h.mean(dim=0), alpha=1 - decay)
        centred = (h - self.activation[i] / (1 - decay ** self.age[i])).abs().mean(dim=0)
        incoming = self.layers[i].weight.abs().mean(dim=1)
        outgoing = self.layers[i + 1].weight.abs().mean(dim=0)
        self.utility[i].mul_(decay).add_(centred * outgoing / incoming, alpha=1 - decay)

    def replace(self, i: int) -> None:
        eligible = torch.where(self.age[i] > self.learner.maturity_threshold)[0]
        self.due[i] += self.learner.replacement_rate * len(eligible)
        count = int(self.due[i])
        if count == 0:
            return
        self.due[i] -= count
        utility = self.utility[i][eligible] / (1 - self.learner.decay_rate ** self.age[i][eligible])
        units = eligible[torch.topk(utility, count, largest=False).indices]
        fresh = torch.empty_like(self.layers[i].weight[units])
        self.layers[i].weight[units] = nn.init.kaiming_uniform_(fresh, nonlinearity="relu")
        self.layers[i].bias[units] = 0.0
        self.layers[i + 1].weight[:, units] = 0.0
        for kept in (self.utility, self.activation, self.age):
            kept[i][units] = 0.0
