"""A checkpoint from a stranger ends in arrays or in one clear line; nothing in it runs."""

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from kesikaran.core.errors import InputError
from kesikaran.models import efficientnet_lite0
from kesikaran.models.torch_checkpoint import read_checkpoint

MAGIC = 0x1950A86A20F9469CFC6C


class Storage(NamedTuple):
    key: str
    values: np.ndarray


class Tensor:
    """Pickles itself as torch would: a call of _rebuild_tensor_v2."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        self.arguments: tuple[Any, ...] = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, Any]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def torch_names(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The names that torch pickles by, for writing only; reading must do without them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_: Any) -> None:
        pytest.fail("called while reading")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def _pickled(thing: Any) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, Storage):
                return None
            kind = {"f4": "FloatStorage", "i8": "LongStorage", "f2": "HalfStorage"}[obj.values.dtype.str[1:]]
            return ("storage", getattr(sys.modules["torch"], kind), obj.key, "cpu", len(obj.values), None)

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(thing)
    return stream.getvalue()


def _file(path: Path, state: Any, storages: list[Storage], magic: int = MAGIC, little: bool = True) -> Path:
    heads = (magic, 1001, {"little_endian": little}, state, [storage.key for storage in storages])
    raw = [struct.pack("<q", len(s.values)) + s.values.tobytes() for s in storages]
    path.write_bytes(b"".join([*map(_pickled, heads), *raw]))
    return path


SIX = Storage("7", np.arange(6, dtype="<f4"))


def test_strides_and_offsets_are_honoured(tmp_path: Path, torch_names: types.ModuleType) -> None:
    counter = Storage("9", np.array([42], "<i8"))
    state = OrderedDict(
        plain=Tensor(SIX, 0, (2, 3), (3, 1)),
        transposed=Tensor(SIX, 0, (3, 2), (1, 3)),
        part=Tensor(SIX, 1, (2, 2), (2, 1)),
        count=Tensor(counter, 0, (), ()),
    )
    path = _file(tmp_path / "c.pth", state, [counter, SIX])  # storages in another order than the tensors'
    tensors = read_checkpoint(path)
    assert list(tensors) == ["plain", "transposed", "part", "count"]
    assert tensors["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["part"].tolist() == [[1, 2], [3, 4]]
    assert tensors["count"].shape == ()
    assert tensors["count"] == 42
    assert {name: t.dtype.str for name, t in tensors.items()} == {
        "plain": "<f4",
        "transposed": "<f4",
        "part": "<f4",
        "count": "<i8",
    }
    assert all(t.flags.c_contiguous and t.flags.owndata for t in tensors.values())


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (6,), (1,)),
        (0, (2, 3), (4, 1)),
        (0, (3, 3), (1, 1)),  # more elements than the storage: an expanded view, a bomb when copied
        (0, (1 << 40,), (0,)),
        (0, (5,), (1 << 60,)),  # 4 * 2**60 * 4 bytes wraps round to 0 in 64 bits
        (1 << 70, (1,), (1,)),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (0,), (1,)),
        (0, (2, 3), (1,)),
        (0.0, (2,), (1,)),
        (0, ("2",), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(
    offset: Any, shape: Any, strides: Any, tmp_path: Path, torch_names: types.ModuleType
) -> None:
    path = _file(tmp_path / "c.pth", OrderedDict(t=Tensor(SIX, offset, shape, strides)), [SIX])
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        read_checkpoint(path)


def test_any_shortening_is_refused(tmp_path: Path, torch_names: types.ModuleType) -> None:
    state = OrderedDict(t=Tensor(SIX, 0, (5,), (1,)))  # does not need its storage's last number
    whole = _file(tmp_path / "c.pth", state, [SIX]).read_bytes()
    short = tmp_path / "short.pth"
    for length in range(len(whole)):
        short.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cannot read the checkpoint .*short\.pth"):
            read_checkpoint(short)
    short.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match="after its end"):
        read_checkpoint(short)


def test_the_real_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(efficientnet_lite0.checkpoint_path().read_bytes()[:-1])
    with pytest.raises(InputError, match="cut short"):
        read_checkpoint(tmp_path / "c.pth")


def test_other_formats_are_refused(tmp_path: Path, torch_names: types.ModuleType) -> None:
    state = OrderedDict(t=Tensor(SIX, 0, (6,), (1,)))
    half = Storage("7", np.arange(6, dtype="<f2"))
    long = Storage("7", np.zeros(3, "<i8"))
    two_kinds = OrderedDict(long=Tensor(long, 0, (3,), (1,)), float=Tensor(SIX, 0, (6,), (1,)))
    lying = _file(tmp_path / "count.pth", state, [SIX])
    lying.write_bytes(lying.read_bytes()[:-32] + struct.pack("<q", 5) + SIX.values.tobytes())
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04" + b"\0" * 100)  # torch 1.6 and later
    refused = {
        _file(tmp_path / "magic.pth", state, [SIX], magic=1): "before torch 1.6",
        _file(tmp_path / "endian.pth", state, [SIX], little=False): "before torch 1.6",
        _file(tmp_path / "more.pth", state, [SIX, Storage("8", SIX.values)]): "list of storages",
        _file(tmp_path / "twice.pth", state, [SIX, SIX]): "list of storages",
        _file(tmp_path / "none.pth", state, []): "list of storages",
        lying: "declared length 6",
        _file(tmp_path / "half.pth", OrderedDict(t=Tensor(half, 0, (6,), (1,))), [half]): "torch.HalfStorage",
        _file(tmp_path / "plain.pth", OrderedDict(t=[1.0, 2.0]), []): "damaged",
        _file(tmp_path / "kinds.pth", two_kinds, [SIX]): "tensor long lies outside its storage",
        tmp_path / "zip.pth": "damaged",
        tmp_path / "absent.pth": "No such file",
    }
    for path, reason in refused.items():
        with pytest.raises(InputError, match=f"cannot read the checkpoint .*{path.name}: .*{reason}"):
            read_checkpoint(path)


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__])
def test_a_forbidden_name_is_refused_before_it_runs(place: int, function: Any, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    arguments = {
        os.system: (f"touch {witness}",),
        eval: (f"open({str(witness)!r}, 'w')",),
        getattr: ("text", "upper"),
        __import__: ("antigravity",),
    }[function]
    heads: list[Any] = [MAGIC, 1001, {"little_endian": True}, OrderedDict(), []]
    heads[place] = Calls(function, *arguments)
    path = tmp_path / "evil.pth"
    path.write_bytes(b"".join(pickle.dumps(head, protocol=2) for head in heads))
    with pytest.raises(InputError, match=function.__name__):
        read_checkpoint(path)
    assert not witness.exists()


@pytest.mark.parametrize("pid", ["storage", ("module", "a", "b"), ("storage", "O", "7", "cpu", 6, None), 3])
def test_a_foreign_persistent_id_is_refused(pid: Any, tmp_path: Path) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return pid if isinstance(obj, complex) else None

    stream = io.BytesIO()
    heads: list[Any] = [MAGIC, 1001, {"little_endian": True}, OrderedDict(t=1j), []]
    for head in heads:
        Pickler(stream, protocol=2).dump(head)
    (tmp_path / "c.pth").write_bytes(stream.getvalue())
    with pytest.raises(InputError, match="storage"):
        read_checkpoint(tmp_path / "c.pth")
