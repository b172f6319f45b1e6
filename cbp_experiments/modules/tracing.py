"""Finding the hidden units of a module in the graph of its forward pass (torch.fx)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import fx, nn

from cbp_experiments.errors import ConfigError
from cbp_experiments.modules.groups import LAYERS, NORMALIZATIONS, Units

BY_NAME = "; name the hidden units yourself: units=[Units(layer='fc1', out='fc2'), ...]"

# What keeps each unit for itself: modules, functions and methods of torch, in lower case without underscores.
EACH_UNIT = {
    *("relu", "relu6", "leakyrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign"),
    *("tanh", "sigmoid", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid", "tanhshrink", "softshrink"),
    *("identity", "contiguous", "dropout", "dropout2d", "alphadropout", "featurealphadropout"),
    *("maxpool2d", "avgpool2d", "lppool2d", "adaptivemaxpool2d", "adaptiveavgpool2d"),
}


def trace_units(module: nn.Module) -> list[Units]:
    """Return the units of all hidden layers, from input to output; the last layers are not hidden.

    Raises ConfigError if the module cannot be traced, or has parts between its layers that are not known here.
    """
    try:
        nodes = list(fx.symbolic_trace(module).graph.nodes)
    except Exception as error:  # the module's own code runs
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"torch.fx cannot trace the module ({problem}){BY_NAME}") from error
    graph = Graph(module)
    graph.check(nodes)
    return [units for node in nodes if graph.is_a(node, LAYERS) and (units := graph.units_of(node))]


class Graph:
    """What the nodes of a module's graph stand for."""

    def __init__(self, module: nn.Module):
        self.module = module

    def check(self, nodes: list[fx.Node]) -> None:
        """Refuse parameters that are used twice, or in other places than Linear, Conv2d and normalizations."""
        parameters = {name for name, _ in self.module.named_parameters(remove_duplicate=False)}
        calls = Counter(node.target for node in nodes if node.op == "call_module")
        for node in nodes:
            if node.op == "get_attr" and node.target in parameters:
                raise ConfigError(f"the forward pass uses the parameter {node.target!r} itself{BY_NAME}")
            if node.op != "call_module" or not any(True for _ in self.called(node).parameters()):
                continue
            if not self.is_a(node, (*LAYERS, *NORMALIZATIONS)):
                kind = type(self.called(node)).__name__
                raise ConfigError(f"{node.target!r} is a {kind}, which is not known here{BY_NAME}")
            if calls[node.target] > 1:
                raise ConfigError(f"{node.target!r} is called {calls[node.target]} times in a forward pass{BY_NAME}")

    def units_of(self, layer: fx.Node) -> Units | None:
        """Follow the outputs of a layer to the next layer. None: no layer comes after it."""
        node, normalization, flat = layer, None, self.is_a(layer, (nn.Linear,))
        while len(readers := [user for user in node.users if not asks_for_shape(user)]) == 1:
            (node,) = readers
            if self.is_a(node, LAYERS):
                if flat != self.is_a(node, (nn.Linear,)):
                    raise ConfigError(f"{node.target!r} cannot read {layer.target!r} without Flatten{BY_NAME}")
                return Units(str(layer.target), str(node.target), normalization)
            if self.is_a(node, NORMALIZATIONS) and normalization is None:
                normalization = str(node.target)
            elif self.flattens(node):
                flat = True
            elif not self.keeps_units(node):
                problem = f"go to {node.name!r}, which is not known here"
                break
        else:
            problem = f"go to {len(readers)} places"
        if any(self.is_a(node, (*LAYERS, *NORMALIZATIONS)) for node in downstream(readers)):
            raise ConfigError(f"the outputs of {layer.target!r} {problem}{BY_NAME}")
        return None

    def called(self, node: fx.Node) -> nn.Module:
        return self.module.get_submodule(str(node.target))

    def is_a(self, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> bool:
        return node.op == "call_module" and type(self.called(node)) in kinds

    def kind(self, node: fx.Node) -> str:
        """The name of the module's class, function or method that a node calls, in lower case without underscores."""
        target = type(self.called(node)) if node.op == "call_module" else node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
        return name.lower().replace("_", "")

    def keeps_units(self, node: fx.Node) -> bool:
        return self.kind(node) in EACH_UNIT

    def flattens(self, node: fx.Node) -> bool:
        """Whether all dimensions but the first become one, in which the positions of a unit are neighbours."""
        if node.op == "call_module":
            called = self.called(node)
            return isinstance(called, nn.Flatten) and (called.start_dim, called.end_dim) == (1, -1)
        sizes = (*node.args[1:], *node.kwargs.values())
        if self.kind(node) == "flatten":
            return sizes in ((1,), (1, -1))
        return self.kind(node) in ("view", "reshape") and len(sizes) == 2


def asks_for_shape(node: fx.Node) -> bool:
    return node.target == "size" or (node.target is getattr and node.args[1:] == ("shape",))


def downstream(nodes: list[fx.Node]) -> Iterator[fx.Node]:
    """These nodes and all that depend on them."""
    seen: set[fx.Node] = set()
    nodes = list(nodes)
    while nodes:
        node = nodes.pop()
        if node not in seen:
            seen.add(node)
            yield node
            nodes.extend(node.users)
