"""Reads a torch checkpoint without torch. Nothing that the file names is executed."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kesikaran.core.errors import InputError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # first two pickles of torch's format before 1.6
# Strings stand for torch's types: a pickle can neither call nor change a string.
_STORAGES = {("torch", "FloatStorage"): "<f4", ("torch", "LongStorage"): "<i8"}


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int


class _View(NamedTuple):
    """A tensor before its numbers are read. Offset and strides count elements, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _View:
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in numbers):
        raise InputError("a tensor in it is not described by a storage and non-negative whole numbers")
    return _View(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Admits only the names that a state dict needs, since a pickle can name any function to be called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) in _STORAGES:
            return _STORAGES[module, name]
        raise InputError(f"it asks for {module}.{name}, which no checkpoint needs")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), str(), int(length), None) if dtype in _STORAGES.values():
                return _Storage(dtype, key, length)
        raise InputError("it refers to something that is not a float or long storage")


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a torch checkpoint in the format before torch 1.6.

    The file holds five pickles (magic number, protocol, system, state dict, storage keys), and then for each key an
    int64 count and the raw numbers.

    Returns:
        Tensor name -> C-contiguous array that owns its memory, float32 or int64, in torch's shape
        (convolution: out, in / groups, height, width).

    Raises:
        InputError: the file is missing, cut short or of another format, asks for a forbidden name, or has a tensor
            outside its storage.
    """
    try:
        stream = io.BytesIO(path.read_bytes())  # read as a whole, so that a false count cannot allocate memory
        magic, protocol, system, state, keys = (_Unpickler(stream).load() for _ in range(5))
        if (magic, protocol) != (_MAGIC, _PROTOCOL) or not system["little_endian"]:
            raise InputError("it is not a little-endian torch checkpoint from before torch 1.6")
        return _tensors(stream, state, keys)
    except Exception as error:  # a damaged pickle can raise anything at all
        reason = str(error) if isinstance(error, InputError) else f"damaged or cut short ({error!r})"
        raise InputError(f"cannot read the checkpoint {path}: {reason}") from error


def _tensors(stream: io.BytesIO, state: dict[str, _View], keys: list[str]) -> dict[str, np.ndarray]:
    declared = {view.storage.key: view.storage for view in state.values()}
    if sorted(keys) != sorted(declared):
        raise InputError("its list of storages is not the one its tensors use")
    numbers = {key: _numbers(stream, declared[key]) for key in keys}
    if stream.read(1):
        raise InputError("it goes on after its end")
    return {name: _strided(name, view, numbers[view.storage.key]) for name, view in state.items()}


def _numbers(stream: io.BytesIO, storage: _Storage) -> np.ndarray:
    count = int.from_bytes(stream.read(8), "little", signed=True)
    dtype = np.dtype(storage.dtype)
    size_bytes = storage.length * dtype.itemsize
    data = stream.read(size_bytes)
    if count != storage.length or len(data) != size_bytes:
        raise InputError(f"storage {storage.key} is cut short or not of its declared length {storage.length}")
    return np.frombuffer(data, dtype)


def _strided(name: str, view: _View, numbers: np.ndarray) -> np.ndarray:
    # In Python's integers, since numpy's own check multiplies in 64 bits and can overflow
    size, last = 1, view.offset
    for length, stride in zip(view.shape, view.strides, strict=True):
        size, last = size * length, last + (length - 1) * stride
    if view.storage.dtype != numbers.dtype.str or not 0 < size <= numbers.size or last >= numbers.size:
        raise InputError(f"tensor {name} lies outside its storage")
    strides = [stride * numbers.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, strides).copy("C")
