"""Which hidden units are found in a module, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import cbp_experiments as cbp
from cbp_experiments import Units
from cbp_experiments.errors import ConfigError
from cbp_experiments.modules.tracing import trace_units


class Functional(nn.Module):
    """Activations, pooling and flattening are functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.body = nn.ModuleDict({"fc1": nn.Linear(20, 6), "norm": nn.LayerNorm(6)})
        self.fc2, self.head = nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x)), inplace=True), 2)
        x = F.adaptive_avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        x = F.dropout(self.body["norm"](self.body["fc1"](x)).relu(), training=self.training)
        return F.log_softmax(self.head(F.gelu(self.fc2(x)).contiguous()), dim=1)


FOUND = [
    Units("conv1", "conv2", "norm1"),
    Units("conv2", "body.fc1"),
    Units("body.fc1", "fc2", "body.norm"),
    Units("fc2", "head"),
]


def test_units_between_functions_are_found() -> None:
    assert trace_units(Functional()) == FOUND


class Flattening(nn.Module):
    def __init__(self, flatten: Callable[[Tensor], Tensor]):
        super().__init__()
        self.conv, self.fc, self.flatten = nn.Conv2d(3, 4, 3), nn.Linear(64, 2), flatten

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(torch.relu(self.conv(x))))


FLATTEN: list[Callable[[Tensor], Tensor]] = [
    nn.Flatten(),
    lambda x: x.flatten(1),
    lambda x: torch.flatten(x, 1, -1),
    lambda x: torch.flatten(x, start_dim=1),
    lambda x: x.view(-1, 64),
    lambda x: x.reshape(x.shape[0], -1),
    lambda x: F.avg_pool2d(x, x.shape[-1] // 4).flatten(1),
]


@pytest.mark.parametrize("flatten", FLATTEN)
def test_flattening(flatten: Callable[[Tensor], Tensor]) -> None:
    module = Flattening(flatten)
    assert trace_units(module) == [Units("conv", "fc")]
    assert module(torch.zeros(5, 3, 6, 6)).shape == (5, 2)


@pytest.mark.parametrize("flatten", [nn.Flatten(2), lambda x: x.transpose(1, 3).flatten(1), lambda x: x])
def test_other_ways_to_a_linear_layer_are_refused(flatten: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ConfigError, match="'conv'"):
        trace_units(Flattening(flatten))


def test_nested_sequentials() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert trace_units(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.SiLU(), block, nn.Linear(4, 2))) == [
        Units("1", "3.0"),
        Units("3.0", "4"),
    ]


class Heads(nn.Module):
    """Two outputs, each of which has a hidden layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.critic = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.actor(x).softmax(dim=1), self.critic(x) * 2


def test_outputs_may_be_used_in_any_way() -> None:
    assert trace_units(Heads()) == [Units("actor.0", "actor.2"), Units("critic.0", "critic.2")]


class Odd(nn.Module):
    """Three layers of four units, in whatever way they are connected."""

    def __init__(self, connect: Callable[["Odd", Tensor], object], middle: nn.Module | None = None):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), middle or nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm, self.norm2, self.scale = nn.LayerNorm(4), nn.LayerNorm(4), nn.Parameter(torch.ones(4))
        self.connect = connect

    def forward(self, x: Tensor) -> object:
        return self.connect(self, x)


def decides(odd: Odd, x: Tensor) -> Tensor:
    return odd.c(torch.relu(odd.a(x))) if x.sum() > 0 else odd.c(x)


UNKNOWN: dict[str, tuple[Callable[[Odd, Tensor], object], str]] = {
    "residual": (lambda odd, x: odd.c(torch.relu(odd.b(h := torch.relu(odd.a(x)))) + h), "'a' go to 2 places"),
    "sum": (lambda odd, x: odd.c(odd.a(x) + 1), "'a' go to 'add', which is not known here"),
    "concatenated": (lambda odd, x: odd.c(torch.cat([odd.a(x), x])), "'a' go to 'cat', which is not known here"),
    "two heads": (lambda odd, x: (odd.b(h := torch.relu(odd.a(x))), odd.c(h)), "'a' go to 2 places"),
    "called twice": (lambda odd, x: odd.c(torch.relu(odd.c(x))), "'c' is called 2 times in a forward pass"),
    "own parameter": (lambda odd, x: odd.c(odd.scale * odd.a(x)), "uses the parameter 'scale' itself"),
    "two normalizations": (lambda odd, x: odd.c(odd.norm2(odd.norm(odd.a(x)))), "'a' go to 'norm2', which is not"),
    "mixed units": (lambda odd, x: odd.c(odd.a(x).softmax(1)), "'a' go to 'softmax', which is not known here"),
    "a decision": (decides, "torch.fx cannot trace the module"),
    "normalized at last": (lambda odd, x: odd.norm(odd.a(x) + x), "'a' go to 'add', which is not known here"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_is_refused_in_a_line(kind: str) -> None:
    connect, problem = UNKNOWN[kind]
    with pytest.raises(ConfigError) as refused:
        trace_units(Odd(connect))
    message = str(refused.value)
    assert problem in message
    assert message.endswith("; name the hidden units yourself: units=[Units(layer='fc1', out='fc2'), ...]")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("middle", "problem"),
    [
        (nn.ConvTranspose2d(4, 4, 3), "'b' is a ConvTranspose2d, which is not known here"),
        (nn.PReLU(), "'b' is a PReLU, which is not known here"),
        (nn.GRU(4, 4), "'b' is a GRU, which is not known here"),
        (parametrizations.weight_norm(nn.Linear(4, 4)), "'b' is a ParametrizedLinear, which is not known here"),
        (nn.Conv2d(4, 4, 3), "'b' cannot read 'a' without Flatten"),
    ],
)
def test_layers_that_are_not_known_are_refused(middle: nn.Module, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        trace_units(Odd(lambda odd, x: odd.c(odd.b(odd.a(x))), middle))


def make(module: nn.Module, *units: Units, trained: list[nn.Parameter] | None = None, **keys: Any) -> None:
    optimizer = torch.optim.SGD(trained or module.parameters(), lr=0.1)
    cbp.UnitReplacer(module, optimizer, units=units or None, **keys)


def test_units_of_a_residual_block_can_be_named() -> None:
    module = Odd(UNKNOWN["residual"][0])
    make(module, Units("b", "c"))


def pruned() -> nn.Module:
    from torch.nn.utils import prune

    return nn.Sequential(prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5), nn.ReLU(), nn.Linear(4, 4))


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[4].weight = module[0].weight
    return module


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].requires_grad_(False)
    return module


CONV = nn.Conv2d(3, 4, 3)
REFUSED: list[tuple[nn.Module, tuple[Units, ...], str]] = [
    (nn.Sequential(nn.Linear(4, 4)), (), "there are no hidden units to replace"),
    (tied(), (), "0.weight is also 4.weight; units with tied weights cannot be replaced"),
    (frozen(), (), "2.weight is not trained by the optimizer"),
    (pruned(), (), "'0' computes its weight from other parameters"),
    (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).half(), (), "0.weight is float16; make the module float32"),
    (nn.Sequential(CONV, nn.Conv2d(4, 4, 3, groups=2)), (), "'1' has groups=2"),
    (
        nn.Sequential(CONV, nn.LayerNorm(4), nn.Conv2d(4, 4, 3)),
        (),
        r"'1' normalizes \(4,\), not the 4 units",
    ),
    (nn.Sequential(CONV, nn.Flatten(), nn.Linear(63, 2)), (), "'2' has 63 inputs, which are not the 4 units of '0'"),
    (Odd(decides), (Units("a", "d"),), "the module has no submodule 'd'; there are: a, b, c, norm, norm2"),
    (Odd(decides), (Units("a", "norm"),), "'norm' is a LayerNorm; it must be a torch.nn.Linear or Conv2d"),
    (Odd(decides), (Units("a", "c", "b"),), "'b' is a Linear; known are BatchNorm1d, BatchNorm2d, LayerNorm"),
    (Odd(decides), (Units("a", "c", bound=0.0),), "the bound of fresh weights of 'a' must be a positive number, got 0"),
    (Odd(decides), (Units("a", "c"), Units("b", "c")), "'c' is the `out` of 2 groups of units"),
    (Odd(decides, nn.Linear(4, 8)), (Units("b", "c"),), "'c' has 4 inputs, which are not the 8 units of 'b'"),
    (Odd(decides, nn.Conv2d(4, 4, 3)), (Units("a", "b"),), "units of the Linear 'a' cannot be read by the Conv2d 'b'"),
]


@pytest.mark.parametrize(("module", "units", "problem"), REFUSED, ids=[problem for *_, problem in REFUSED])
def test_what_cannot_be_replaced_is_refused(module: nn.Module, units: tuple[Units, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        make(module, *units)
    assert "\n" not in str(refused.value)


def test_parameters_outside_the_optimizer_are_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    with pytest.raises(ConfigError, match=r"0.weight is not trained by the optimizer"):
        make(module, trained=list(module[2].parameters()))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"replacement_rate": 2.0}, "replacement_rate must be between 0 and 1"),
        ({"maturity_threshold": -1}, "maturity_threshold must be a number of updates"),
        ({"decay_rate": 1.0}, "decay_rate must be at least 0 and below 1"),
        ({"utility": "luck"}, "utility must be one of adaptable_contribution"),
        ({"optimizer_state": "all"}, "optimizer_state must be null or one of none, moments"),
        ({"bound": lambda layer: -1.0}, "the bound of fresh weights of '0' must be a positive number"),
    ],
)
def test_bad_values_are_refused(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), **keys)


def test_what_an_optimizer_cannot_forget_is_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    adam, rmsprop = torch.optim.AdamW(module.parameters()), torch.optim.RMSprop(module.parameters())
    with pytest.raises(ConfigError, match=r"torch.optim.AdamW has one count .* use cbp_experiments.Adam"):
        cbp.UnitReplacer(module, adam, optimizer_state="moments_and_count")
    with pytest.raises(ConfigError, match=r"the state of RMSprop is not known; .* optimizer_state='none'"):
        cbp.UnitReplacer(module, rmsprop)
