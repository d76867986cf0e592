"""A handle ends in a frozen feature vector, or in one line that says the way out."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import toy_backbone

from kesikaran.core.errors import InputError
from kesikaran.models import backbone, hub

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def alone() -> None:
    backbone.load.cache_clear()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return toy_backbone(tmp_path / "toy")


def test_the_digest_is_of_names_and_bytes(toy: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(toy, tmp_path / "copy"))
    assert backbone.digest(copy) == backbone.digest(toy)
    (weights,) = (copy / "variables").glob("*.data*")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert backbone.digest(copy) != backbone.digest(toy)
    weights.write_bytes(content)
    assert backbone.digest(copy) == backbone.digest(toy)
    (copy / "variables" / "more").write_bytes(b"")
    assert backbone.digest(copy) != backbone.digest(toy)


@pytest.mark.parametrize("name", ["variables/weights", "other", "variables"])
def test_the_same_bytes_under_another_name_are_another_module(name: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    before = backbone.digest(tmp_path)
    moved = tmp_path / "moved" / name
    moved.parent.mkdir(parents=True)
    (tmp_path / "weights").rename(moved)
    assert backbone.digest(tmp_path / "moved") != before


def test_it_is_frozen(toy: Path) -> None:
    net = backbone.load(str(toy), 32)
    assert net.layer.trainable_weights == []
    black, white = np.zeros((1, 32, 32, 3), np.float32), np.ones((1, 32, 32, 3), np.float32)
    assert np.abs(net.layer(black) - net.layer(white)).max() > 0.1


def test_a_module_that_was_seen_before_is_not_loaded(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = backbone.load(str(toy), 32)
    backbone.load.cache_clear()  # as a new process would

    def load_layer(*_: Any) -> Any:
        raise InputError("it was loaded")

    monkeypatch.setattr(hub, "load_layer", load_layer)
    assert backbone.load(str(toy), 32) == first
    with pytest.raises(InputError, match="it was loaded"):
        backbone.load(str(toy), 48)  # of another size nothing is known
    (weights,) = (toy / "variables").glob("*.data*")
    weights.write_bytes(weights.read_bytes()[:-1])
    backbone.load.cache_clear()
    with pytest.raises(InputError, match="it was loaded"):
        backbone.load(str(toy), 32)


def test_an_image_size_the_module_cannot_take(tmp_path: Path) -> None:
    import tf_keras

    fixed = tf_keras.Sequential([tf_keras.Input((48, 48, 3)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(4)])
    fixed.save(tmp_path / "fixed", save_format="tf")
    with pytest.raises(InputError, match=r"does not take images of float32 \[n, 32, 32, 3\].*set backbone.image_size"):
        backbone.load(str(tmp_path / "fixed"), 32)
