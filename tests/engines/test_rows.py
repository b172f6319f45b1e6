"""The online engine's arithmetic on rows: in the dtype of the weights, whichever that is."""

from collections.abc import Callable
from typing import Any

import numba
import pytest
from numba.core import config

from cbp_experiments.compiling import OPTIONS
from cbp_experiments.engines.compiled import rows

FUNCTIONS: list[tuple[Any, int]] = [
    (rows.add_rows, 1),
    (rows.update_rows, 1),
    (rows.update_rows_tracked, 2),
    (rows.backward_rows, 2),
    (rows.backward_rows_tracked, 4),
]


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")  # type: ignore[attr-defined]
@pytest.mark.parametrize(("function", "vectors"), FUNCTIONS)
def test_float32_rows_are_never_widened(function: Callable[..., Any], vectors: int) -> None:
    """Half as many float64 fit a register, and every conversion is an instruction: it doubled the time of CBP."""
    vector = numba.float32[::1]
    signature = (numba.float32[:, ::1], numba.int64[::1], vector, numba.int64, *[vector] * vectors)
    compiled = numba.njit(**OPTIONS)(function.py_func)  # type: ignore[attr-defined]
    compiled.compile(signature)
    assert "double" not in compiled.inspect_llvm(compiled.signatures[0])
