"""Where a part of a learner comes in: the compiled functions that each kind of part has in its own way.

A hook is called with the arrays of a part and finds the function by their type, when it is compiled: what no part of
the learner does is no code at all. Called with a tuple of parts, it goes through them. A file of this folder registers
what its part does:

    @before_reading.of(NoiseArrays)
    @inlined
    def settle_rows(noise, run, layer, rows, count): ...
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from cbp_experiments.compiling import OPTIONS
from cbp_experiments.engines.compiled.structures import Parts, RunArrays

INLINED: Any = OPTIONS | {"forceinline": True}  # by LLVM: numba's own way takes twice as long to compile
Function = Callable[..., Any]


class Hook:
    """A function that `of` registers for a type of arrays; for other types it does nothing."""

    def __init__(self, declared: Function):
        self.__doc__, self.names = declared.__doc__, list(inspect.signature(declared).parameters)
        self.functions: dict[type, Function] = {}
        overload(self, jit_options=INLINED, strict=False)(self._compiled)

    def of(self, kind: type) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            self.functions[kind] = function
            return function

        return register

    def __call__(self, part: Any, *others: Any) -> Any:
        """In Python, with NUMBA_DISABLE_JIT."""
        if type(part) is tuple:
            for each in part:
                self(each, *others)
            return None
        function = self.functions.get(type(part))
        return function(part, *others) if function else None

    def _compiled(self, part: Any, *others: Any) -> Function:
        """By numba's types: a function that calls what is registered. The names of its parameters have to be the
        declared ones, so it is put together as text."""
        one = not isinstance(part, types.BaseTuple) or isinstance(part, types.BaseNamedTuple)
        registered = [self.functions.get(_class(kind)) for kind in ([part] if one else part)]
        first, *rest = self.names
        calls = [
            f"function{i}({', '.join([first if one else f'{first}[{i}]', *rest])})"
            for i, function in enumerate(registered)
            if function
        ]
        body = f"return {calls[0]}" if one and calls else "\n    ".join([*calls, "return None"])
        namespace: dict[str, Any] = {f"function{i}": function for i, function in enumerate(registered)}
        exec(f"def implementation({', '.join(self.names)}):\n    {body}", namespace)
        return namespace["implementation"]


def _class(kind: types.Type) -> type:
    return type(None) if isinstance(kind, types.NoneType) else kind.instance_class  # type: ignore[attr-defined]


# In the order of an update. `part`: of all mechanisms in turn, unless the name says whose it is.


@Hook
def before_reading(part: Any, run: RunArrays, layer: int, rows: np.ndarray, count: int) -> None:
    """The weights of the inputs `rows[:count]` of a layer are read next: bring them up to date."""


@Hook
def normalize(normalization: Any, run: RunArrays, layer: int) -> None:
    """Turn the weighted sums `scratch.h[layer + 1]`, without scale and biases, into what the activation takes."""


@Hook
def activations(part: Any, run: RunArrays, layer: int) -> None:
    """Change the activations `scratch.h[layer]` of a hidden layer and their slopes."""


@Hook
def step_factor(optimizer: Any, run: RunArrays) -> Any:
    """What turns the gradients that are passed back into the steps that this optimizer takes them for."""


@Hook
def begin_step(optimizer: Any, run: RunArrays) -> None:
    """Before the layers are updated, the last one first."""


@Hook
def turn_step(normalization: Any, run: RunArrays, layer: int) -> None:
    """Turn the step of a layer's outputs, `scratch.step[layer + 1]`, into that of its weighted sums; leave that of its
    biases in `scratch.shift`."""


@Hook
def update_layer(optimizer: Any, run: RunArrays, parts: Parts, layer: int) -> None:
    """Update a layer's weights, biases and gains; leave the step of its inputs in `scratch.step[layer]`."""


@Hook
def update_gains(normalization: Any, run: RunArrays, optimizer: Any, layer: int) -> None:
    """Update a layer's gains."""


@Hook
def update_vector(
    optimizer: Any, run: RunArrays, values: np.ndarray, moments: Any, step: np.ndarray, layer: int
) -> None:
    """Update `values[layer]`, biases or gains, by their step. moments: `[2]` arrays like `values` for Adam's."""


@Hook
def update_rows_of(magnitudes: Any, run: RunArrays, layer: int) -> None:
    """w -= x step for the active rows of a layer, and `scratch.back` = w step with the weights before."""


@Hook
def end_step(optimizer: Any, run: RunArrays, parts: Parts) -> None:
    """After all layers."""


@Hook
def after_update(part: Any, run: RunArrays, parts: Parts, t: int, events: np.ndarray) -> None:
    """After the optimizer; t: updates of the task so far. New weights (hooks.reset_unit)."""


@Hook
def sum_magnitudes(magnitudes: Any, run: RunArrays) -> None:
    """Take the sums of |w| afresh."""


@Hook
def forget_unit(part: Any, run: RunArrays, layer: int, unit: int) -> None:
    """A unit of a hidden layer is new: so is what the optimizer or the normalization knows of it."""


@Hook
def before_rescaling(part: Any, run: RunArrays) -> None:
    """The scale of the weights is about to be worked into them."""


@Hook
def settle(part: Any, run: RunArrays, parts: Parts) -> None:
    """Finish what is put off, as before anyone reads the weights."""
