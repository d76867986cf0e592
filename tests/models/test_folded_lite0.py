"""The network that is trained in place of the embedded SavedModel: the same features and the same gradients."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import toy_backbone

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def layer() -> Any:
    """Variables that have moved from where the checkpoint put them."""
    from kesikaran.models import backbone, hub

    net = backbone.load(hub.EMBEDDED, 64)
    found, first = hub.load_trainable(net.handle, net.folder, net.digest)
    random = np.random.default_rng(0)
    for variable, value in zip(found.variables, first, strict=True):
        variable.assign(value * random.uniform(0.9, 1.1, value.shape))
    return found


def images(size: int = 72) -> np.ndarray:
    return np.random.default_rng(1).random((3, size, size, 3), np.float32)


@pytest.mark.parametrize("size", [72, 61])
def test_features_are_those_of_the_layer(layer: Any, size: int) -> None:
    from kesikaran.models import folded_lite0

    of_images = folded_lite0.features(layer)
    assert of_images is not None
    expected = layer(images(size), training=False).numpy()
    np.testing.assert_allclose(of_images(images(size)), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_gradients_are_those_of_the_layer(layer: Any) -> None:
    """Of every variable that can be trained, kernels, scales and offsets."""
    import tensorflow as tf

    from kesikaran.models import folded_lite0

    of_images = folded_lite0.features(layer)
    assert of_images is not None
    found = []
    for features in (lambda x: layer(x, training=False), of_images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(3 * features(tf.constant(images()))))
        found.append([gradient.numpy() for gradient in tape.gradient(loss, layer.trainable_variables)])
    assert len(found[0]) == 147
    for expected, quick in zip(*found, strict=True):
        assert np.linalg.norm(quick - expected) <= 2e-3 * np.linalg.norm(expected)


def test_another_network_is_left_as_it_is(layer: Any, tmp_path: Path) -> None:
    """One of other variables, and one with the same variables that computes something else."""
    from kesikaran.models import backbone, folded_lite0, hub

    net = backbone.load(str(toy_backbone(tmp_path / "backbone", norm=True)), 32)
    toy, _ = hub.load_trainable(net.handle, net.folder, net.digest)
    assert folded_lite0.features(toy) is None

    class Twice(SimpleNamespace):
        def __call__(self, x: Any, training: bool) -> Any:
            return layer(2 * x, training=training)

    assert folded_lite0.features(Twice(variables=layer.variables)) is None


def test_mixed_precision_computes_the_convolutions_in_bfloat16(layer: Any) -> None:
    """The variables, the features and the gradients stay float32."""
    import tensorflow as tf

    from kesikaran.models import folded_lite0

    of_images = folded_lite0.features(layer)
    assert of_images is not None
    with tf.GradientTape() as tape:
        found = of_images(images(), tf.bfloat16)
        loss = tf.reduce_sum(found**2)
    expected = of_images(images()).numpy()
    distance = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < distance < 0.05
    assert found.dtype == tf.float32
    gradients = tape.gradient(loss, layer.trainable_variables)
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    assert all(np.isfinite(gradient).all() for gradient in gradients)
