"""The exported classifier is its preprocessing, its backbone and its head, one after the other."""

import base64
import json
import os
from pathlib import Path
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
    classifier.band.assign([threshold - 0.001, threshold + 0.001])
    signatures = classifier.signatures()
    assert set(signatures) == {"serving_default", "images"}
    outputs = [(signatures["serving_default"](encoded=tf.stack(encoded)), logits)]
    outputs += [(signatures["images"](pixels=image[None]), logits[n : n + 1]) for n, image in enumerate(pixels[:3])]
    for found, logit in outputs:
        kinds = {name: value.dtype.name for name, value in found.items()}
        assert kinds == {"logit": "float32", "probability": "float32", "label": "int64", "sure": "bool"}
        assert found["logit"].numpy() == pytest.approx(logit, abs=1e-5)
        assert found["probability"].numpy() == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
        assert found["label"].numpy().tolist() == (found["logit"].numpy() >= classifier.threshold.numpy()).tolist()
    assert set(outputs[0][0]["label"].numpy()) == {0, 1}
    sure = outputs[0][0]["sure"].numpy()
    assert sure.tolist() == [abs(logit - threshold) > 0.001 for logit in outputs[0][0]["logit"].numpy()]
    assert set(sure) == {False, True}
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


def tensorflow_serving(body: str, signatures: Any) -> str:
    """What TensorFlow Serving answers to the body of a request to `/v1/models/NAME:predict`, by its documented rules
    (tensorflow.org/tfx/serving/api_rest), for a model whose one input is a vector of strings. It is no Python package.

    In rows: `instances` is a list of values, or of objects that name the input; the answer is `predictions`, an object
    of the named outputs for each. In columns: `inputs` is the list, or an object that names the input; the answer is
    `outputs`, an object of lists. A value of bytes is an object whose one key is `b64`. `signature_name` chooses.
    """
    import tensorflow as tf

    request = json.loads(body)
    signature = signatures[request.get("signature_name", "serving_default")]
    (name,) = signature.structured_input_signature[1]
    if "instances" in request:
        values = [value.get(name, value) for value in request["instances"]]
    else:
        values = request["inputs"]
        values = values[name] if isinstance(values, dict) else values
    assert all(set(value) == {"b64"} for value in values)
    contents = [base64.b64decode(value["b64"], validate=True) for value in values]
    found = {key: value.numpy().tolist() for key, value in signature(**{name: tf.constant(contents)}).items()}
    if "inputs" in request:
        return json.dumps({"outputs": found})
    rows = zip(*found.values(), strict=True)
    return json.dumps({"predictions": [dict(zip(found, row, strict=True)) for row in rows]})


def test_tensorflow_serving_answers_a_request_in_each_of_its_forms(made: Made, classifier: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(classifier, str(tmp_path), signatures=classifier.signatures())
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    assert list(signatures["serving_default"].structured_input_signature[1]) == ["encoded"], "the name in requests"
    contents = [(made.images / name).read_bytes() for name in sorted(os.listdir(made.images))[:3]]
    values = [{"b64": base64.b64encode(content).decode()} for content in contents]
    expected = classifier.signatures()["serving_default"](encoded=tf.constant(contents))
    rows = {"instances": values}, {"instances": [{"encoded": value} for value in values]}
    columns = {"inputs": values}, {"inputs": {"encoded": values}}
    for request in (*rows, *columns, {"signature_name": "serving_default", **rows[0]}):
        answer = json.loads(tensorflow_serving(json.dumps(request), signatures))
        if "inputs" in request:
            found = answer["outputs"]
        else:
            found = {name: [row[name] for row in answer["predictions"]] for name in answer["predictions"][0]}
        assert set(found) == set(expected) >= {"label", "probability", "logit"}
        for name, given in found.items():
            assert given == pytest.approx(expected[name].numpy().tolist(), abs=1e-6), name


def test_a_lone_image_goes_through_the_backbone_with_another() -> None:
    """A batch of one would be computed by another way, slowly."""
    import tensorflow as tf

    from kesikaran.data import augment
    from kesikaran.models.classifier import Classifier

    class Counts:
        """A backbone and a head whose logit is the size of the batch."""

        variables = ()
        input_shape = (None, 1)
        layer = property(lambda self: self)

        def __call__(self, given: Any, training: bool) -> Any:
            count = tf.cast(tf.shape(given)[0], tf.float32)
            return given if len(given.shape) == 2 else tf.fill([tf.shape(given)[0], 1], count)

    config = BackboneConfig(handle="counts", image_size=8)
    made = Classifier(Counts(), config, Counts(), (augment.IDENTITY, augment.IDENTITY))
    for count, sent in [(1, 2), (2, 2), (3, 3)]:
        assert made.from_pixels(tf.zeros([count, 8, 8, 3]))["logit"].numpy().tolist() == [sent] * count
