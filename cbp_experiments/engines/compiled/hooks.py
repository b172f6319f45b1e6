"""Hooks: the places in an update where a part of a learner does something.

A hook is called with the arrays of a part. It finds the function registered for their type when it is compiled, so a
hook that no part of the learner uses compiles to nothing. Called with a tuple of parts, it calls each in turn. A file
in this folder registers what its part does:

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

INLINED: Any = OPTIONS | {"forceinline": True}  # by LLVM: numba's own inlining takes twice as long to compile
Function = Callable[..., Any]


class Hook:
    """Calls the function that `of` has registered for the type of a part's arrays; for other types it does nothing."""

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
        """Run in Python, with NUMBA_DISABLE_JIT."""
        if type(part) is tuple:
            for each in part:
                self(each, *others)
            return None
        function = self.functions.get(type(part))
        return function(part, *others) if function else None

    def _compiled(self, part: Any, *others: Any) -> Function:
        """Make the function that calls what is registered for numba's types.

        Its parameters must have the declared names, so it is put together as text.
        """
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


# In the order of an update. The first parameter names the part that is called; `part`: several kinds, such as all
# mechanisms in turn.


@Hook
def before_reading(part: Any, run: RunArrays, layer: int, rows: np.ndarray, count: int) -> None:
    """Bring the weights of the inputs `rows[:count]` of a layer up to date: they are read next."""


@Hook
def normalize(normalization: Any, run: RunArrays, layer: int) -> None:
    """Turn the weighted sums `scratch.h[layer + 1]`, without scale and biases, into the activation function's input."""


@Hook
def activations(part: Any, run: RunArrays, layer: int) -> None:
    """Change the activations `scratch.h[layer + 1]` of hidden layer `layer` (from 0) and their slopes."""


@Hook
def step_factor(optimizer: Any, run: RunArrays) -> Any:
    """Return the factor that turns gradients into what this optimizer passes back: the step size, or 1."""


@Hook
def begin_step(optimizer: Any, run: RunArrays) -> None:
    """Called before the layers are updated, the last one first."""


@Hook
def turn_step(normalization: Any, run: RunArrays, layer: int) -> None:
    """Turn `scratch.step[layer + 1]`, the step of a layer's outputs, into the step of its weighted sums.

    Leave the step of its biases in `scratch.shift`.
    """


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
    """Update `values[layer]`, biases or gains, by their step. moments: for Adam, two arrays like `values`."""


@Hook
def update_rows_of(magnitudes: Any, run: RunArrays, layer: int) -> None:
    """w -= x step for the active rows of a layer, and `scratch.back` = w step with the weights from before."""


@Hook
def end_step(optimizer: Any, run: RunArrays, parts: Parts) -> None:
    """Called after all layers are updated."""


@Hook
def after_update(part: Any, run: RunArrays, parts: Parts) -> None:
    """Called after the optimizer, as Actor.after_update."""


@Hook
def between_updates(part: Any, run: RunArrays, parts: Parts, t: int, events: np.ndarray) -> None:
    """Called last, as Actor.between_updates, for update t of the task, from 0. It may reset units (resetting.py)."""


@Hook
def renew_weights(magnitudes: Any, run: RunArrays, layer: int, unit: int, purpose: np.uint64, k: int) -> None:
    """Draw the incoming weights of a unit, set its outgoing weights to 0, and adjust the sums of |w|.

    `k` other units of the layer were reset for this purpose at this update.
    """


@Hook
def sum_magnitudes(magnitudes: Any, run: RunArrays) -> None:
    """Recompute the sums of |w|."""


@Hook
def forget_unit(part: Any, run: RunArrays, layer: int, unit: int) -> None:
    """Forget what the optimizer or the normalization knows about a unit of a hidden layer that is reset."""


@Hook
def before_rescaling(part: Any, run: RunArrays) -> None:
    """Called before the weights are multiplied by their scale, which is then set to 1."""


@Hook
def settle(part: Any, run: RunArrays, parts: Parts) -> None:
    """Finish all deferred work, so that the weights can be read."""
