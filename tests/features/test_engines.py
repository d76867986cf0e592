"""The engines of the forward pass: what they give, and how the feature cache tells them apart."""

import sys
from typing import Any

import numpy as np
import pytest
from conftest import Made

from kesikaran.config.schema import BackboneConfig, Engine, Precision
from kesikaran.core.errors import InputError


def config(made: Made, engine: Engine, precision: Precision = Precision.float32) -> BackboneConfig:
    return BackboneConfig(handle=str(made.backbone), image_size=32, engine=engine, precision=precision)


def test_tensorflow_has_no_name_and_gives_what_the_layer_gives(made: Made) -> None:
    from kesikaran.features import engines
    from kesikaran.models import backbone

    plain = config(made, Engine.tensorflow)
    net = backbone.load(plain.handle, 32)
    assert engines.name(plain) is None
    images: Any = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    found = engines.forward(net, plain, 4)(images)
    assert (type(found), found.shape, found.dtype) == (np.ndarray, (4, net.width), np.float32)
    np.testing.assert_array_equal(found, net.layer(images).numpy())


@pytest.mark.parametrize("precision", list(Precision))
def test_openvino_gives_nearly_the_same_under_a_name_of_its_own(made: Made, precision: Precision) -> None:
    openvino = pytest.importorskip("openvino")
    import tensorflow as tf

    from kesikaran.features import engines
    from kesikaran.models import backbone

    other = config(made, Engine.openvino, precision)
    net = backbone.load(other.handle, 32)
    assert engines.name(other) == f"openvino {openvino.__version__.split('-')[0]}, {precision.name}"
    compute = engines.forward(net, other, 4)
    random = np.random.default_rng(0)
    batches = [tf.constant(random.random((4, 32, 32, 3), np.float32)) for _ in range(2)]
    found = [compute(batch) for batch in batches]
    for features, batch in zip(found, batches, strict=True):  # the second pass leaves the first one's features alone
        assert (features.shape, features.dtype) == ((4, net.width), np.float32)
        np.testing.assert_allclose(features, net.layer(batch), atol=1e-4 if precision is Precision.float32 else 0.05)


@pytest.mark.tensorflow
def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from kesikaran.features import engines

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"needs the package openvino: pip install"):
        engines.name(BackboneConfig(handle="", engine=Engine.openvino))
