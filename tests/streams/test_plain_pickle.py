import io
import os
import pickle
from typing import Any

import numpy as np
import pytest

from cbp_experiments.streams import plain_pickle

ARRAYS: dict[str, np.ndarray] = {
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "floats": np.linspace(0, 1, 5),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_builtin_values(protocol: int) -> None:
    values = {"labels": [1, 2], "names": ("a", b"b\xff", None), "mean": 1.5}
    loaded = plain_pickle.loads(pickle.dumps({**ARRAYS, **values}, protocol=protocol))
    assert {name: loaded[name] for name in values} == values
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_text_of_python_2() -> None:
    python_2 = b"(dp0\nS'fine_label_names'\np1\n(lp2\nS'apple'\np3\nas."
    assert plain_pickle.loads(python_2) == {"fine_label_names": ["apple"]}


class Attack:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (Attack(os.system, "true"), "posix.system"),
        (Attack(eval, "1"), "builtins.eval"),
        (Attack(getattr, {}, "keys"), "builtins.getattr"),
        (Attack(np.load, "x.npy"), "numpy.load"),
        (Attack(np.memmap, "x"), "numpy.memmap"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_else_is_called(attack: Attack, name: str, protocol: int) -> None:
    with pytest.raises(ValueError, match=f"it asks for .*{name.rsplit('.')[-1]}, which no array needs"):
        plain_pickle.loads(pickle.dumps({"data": attack}, protocol=protocol))


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps({"a": ARRAYS["floats"]})[:-20], b"\x80\x09."])
def test_damaged_content(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_pickle.load(io.BytesIO(content))


@pytest.mark.parametrize("array", [np.array([print], dtype=object), np.array(["a"]), np.zeros(1, [("x", "u1")])])
def test_only_numbers(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"not of numbers|which no array needs"):
        plain_pickle.loads(pickle.dumps({"a": array}, protocol=4))


def test_only_a_dict() -> None:
    with pytest.raises(ValueError, match="it holds no dict, but list"):
        plain_pickle.loads(pickle.dumps([1]))
