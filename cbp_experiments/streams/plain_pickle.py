"""Read pickled arrays from untrusted files without running code in them."""

import io
import pickle
from typing import IO, Any

import numpy as np

NUMBERS = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"}


def load(file: IO[bytes]) -> dict[str, Any]:
    """Load a pickled dict of numeric arrays (read-only) and Python's own values, as in CIFAR and downsampled ImageNet.

    Python 2 text is read as latin-1. Raises ValueError, saying why, for anything else: of the functions and classes
    that a pickle names, only those that rebuild arrays are called.
    """
    try:
        content = _PlainUnpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds no dict, but {type(content).__name__}")
        return {name: value.array if isinstance(value, _Array) else value for name, value in content.items()}
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def loads(content: bytes) -> dict[str, Any]:
    """`load` from bytes."""
    return load(io.BytesIO(content))


class _Type:
    """Stands for numpy.dtype, which trusts what a pickle says about its memory: wrong flags could be exploited."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in NUMBERS:
            raise ValueError(f"an array of type {code!r}, not of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for an array until the pickle is read."""

    array: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Type, bool, bytes | str]) -> None:
        _, shape, kind, columns_first, data = state
        content = data.encode("latin1") if isinstance(data, str) else data
        self.array = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if columns_first else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    """Rebuild an array, as pickle protocol 5 does."""
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def _latin1(text: str, _: str) -> bytes:
    """Rebuild bytes, as protocols below 3 do."""
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,  # numpy 1
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _latin1,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs") from None
