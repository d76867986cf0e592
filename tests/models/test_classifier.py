"""The exported classifier is its preprocessing, its backbone and its head, one after the other."""

import os
from typing import Any

import numpy as np
import pytest
from conftest import Made

from kesikaran.config.schema import BackboneConfig, HeadConfig


@pytest.fixture(scope="module")
def config(made: Made) -> BackboneConfig:
    return BackboneConfig(handle=str(made.backbone), image_size=32, value_range=[-1.0, 1.0])


@pytest.fixture(scope="module")
def layers(config: BackboneConfig) -> Any:
    """(backbone, head)"""
    from kesikaran.models import backbone
    from kesikaran.models.head import build_head

    net = backbone.load(config.handle, config.image_size)
    return net, build_head(net.width, HeadConfig([4], dropout=0.5), seed=0)


@pytest.fixture(scope="module")
def classifier(config: BackboneConfig, layers: Any) -> Any:
    from kesikaran.models.classifier import Classifier

    return Classifier(layers[0], config, layers[1])


def expected(pixels: list[Any], config: BackboneConfig, layers: Any) -> np.ndarray:
    """The logits, one image at a time and without dropout."""
    from kesikaran.data import preprocess

    net, head = layers
    images = (preprocess.resize(image, config)[None] for image in pixels)
    logits: np.ndarray = np.array([float(head(net.layer(image), training=False)[0, 0]) for image in images])
    return logits


def test_both_signatures_give_logit_probability_and_label(
    made: Made, config: BackboneConfig, layers: Any, classifier: Any
) -> None:
    import tensorflow as tf

    from kesikaran.data import preprocess

    names = sorted(os.listdir(made.images))[:12]
    encoded = [tf.constant((made.images / name).read_bytes()) for name in names]
    pixels = [tf.cast(preprocess.decode(content, config), tf.float32) for content in encoded]
    logits = expected(pixels, config, layers)
    threshold = float(np.median(logits))
    classifier.threshold.assign(threshold)
    signatures = classifier.signatures()
    assert set(signatures) == {"serving_default", "images"}
    outputs = [(signatures["serving_default"](encoded=tf.stack(encoded)), logits)]
    outputs += [(signatures["images"](pixels=image[None]), logits[n : n + 1]) for n, image in enumerate(pixels[:3])]
    for found, logit in outputs:
        kinds = {name: value.dtype.name for name, value in found.items()}
        assert kinds == {"logit": "float32", "probability": "float32", "label": "int64"}
        assert found["logit"].numpy() == pytest.approx(logit, abs=1e-5)
        assert found["probability"].numpy() == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
        assert found["label"].numpy().tolist() == (found["logit"].numpy() >= classifier.threshold.numpy()).tolist()
    assert set(outputs[0][0]["label"].numpy()) == {0, 1}
    np.testing.assert_array_equal(classifier(tf.stack(encoded)), outputs[0][0]["probability"])


def test_the_head_gets_the_mean_of_the_views(made: Made, config: BackboneConfig, layers: Any, classifier: Any) -> None:
    import tensorflow as tf

    from kesikaran.data import preprocess
    from kesikaran.models.classifier import Classifier

    net, head = layers
    names = sorted(os.listdir(made.images))[:5]
    encoded = [tf.constant((made.images / name).read_bytes()) for name in names]
    pixels = tf.stack([preprocess.resize(preprocess.decode(content, config), config) for content in encoded])
    features = (net.layer(pixels) + net.layer(pixels[:, :, ::-1])) / 2
    of_two = Classifier(net, config, head, ("identity", "flip_left_right"))
    found = of_two.from_encoded(tf.stack(encoded))["logit"]
    np.testing.assert_allclose(found, head(features, training=False)[:, 0], atol=1e-5)
    assert np.abs(found - classifier.from_encoded(tf.stack(encoded))["logit"]).max() > 1e-3


def test_its_variables_are_those_that_a_template_writes(layers: Any, classifier: Any) -> None:
    """publish.model_template writes them by these places."""
    net, head = layers
    assert [id(ours) for ours in classifier.head] == [id(theirs) for theirs in head.variables]
    assert len(classifier.backbone) == len(net.layer.variables) == 2
    assert (classifier.threshold.shape, classifier.threshold.dtype.name) == ((), "float32")
