"""The exported classifier: preprocessing, backbone and head in one graph."""

import math
from typing import Any, Protocol

import tensorflow as tf

from kesikaran.config.schema import BackboneConfig
from kesikaran.data import augment, preprocess

NO_BAND = (math.inf, -math.inf)
"""The band of a classifier that is sure of all images."""


class FeatureVector(Protocol):
    """What gives the features: a `Backbone`, or a `Network` that was fine-tuned."""

    @property
    def layer(self) -> Any: ...


class Classifier(tf.Module):
    """The module that is saved. Loading it needs neither this package nor the backbone's folder.

    Calling it: encoded images string [n] -> probability of label 1, float32 [n].
    Signatures (see `signatures`): `serving_default` takes encoded JPEG or PNG files, `images` takes decoded pixels.
    Both give, each [n]: logit float32, probability = 1 / (1 + exp(-logit)) float32, label int64, which is 1 where
    logit >= threshold, and sure bool, which is False where logit is within the band. The decision of a run is part of
    the head's last layer, of the threshold and of the band (`metrics.decisions.fold`), so the logit is the log_odds of
    the run's `predictions.parquet`.

    The head gets the mean of the features of several views of an image (`data.augment.views`), or those of one. A
    program that keeps features calls `features` and `judged`.
    """

    def __init__(
        self, backbone: FeatureVector, config: BackboneConfig, head: Any, views: tuple[str, ...] = (augment.IDENTITY,)
    ):
        super().__init__(name="classifier")
        # The variables in place of the layers, which Keras would trace once more while saving
        self.backbone = list(backbone.layer.variables)
        # publish.model_template writes these three by their names.
        self.head = list(head.variables)
        self.threshold = tf.Variable(0.0, dtype=tf.float32)
        self.band = tf.Variable(NO_BAND, dtype=tf.float32)
        self._config = config
        self._views = views
        size, width = config.image_size, int(head.input_shape[-1])
        layer = backbone.layer
        features = tf.autograph.experimental.do_not_convert(lambda x: layer(x, training=False))
        self.features = tf.function(features, [tf.TensorSpec([None, size, size, 3], tf.float32, name="pixels")])
        self._logits = lambda x: head(x, training=False)
        self.judged = tf.function(self._judge, [tf.TensorSpec([None, width], tf.float32, name="features")])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        return self.from_encoded(encoded)["probability"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
    def from_encoded(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        size = self._config.image_size
        pixels = tf.map_fn(
            lambda image: preprocess.resize(preprocess.decode(image, self._config), self._config),
            encoded,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        return self._classify(pixels)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="pixels")])
    def from_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """pixels: float32 [n, height, width, 3] in 0-255, of any size."""
        return self._classify(preprocess.resize(pixels, self._config))

    def _classify(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # A lone image gets a black one beside it: oneDNN computes a batch of one by another way, with other last bits
        # and on some processors twenty times as slowly.
        count = tf.shape(pixels)[0]
        pixels = tf.pad(pixels, [[0, tf.cast(count == 1, tf.int32)], [0, 0], [0, 0], [0, 0]])
        features = [self.features(augment.view(pixels, view))[:count] for view in self._views]
        return self._judge(tf.add_n(features) / len(features) if len(features) > 1 else features[0])

    def _judge(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features float32 [n, width], of an image or the mean over its views -> what the signatures give."""
        logit = tf.squeeze(self._logits(features), axis=1)
        label = tf.cast(logit >= self.threshold, tf.int64)
        sure = (logit < self.band[0]) | (logit > self.band[1])
        return {"probability": tf.sigmoid(logit), "label": label, "logit": logit, "sure": sure}

    def signatures(self) -> dict[str, Any]:
        """The `signatures` argument of `tf.saved_model.save`."""
        return {
            "serving_default": self.from_encoded.get_concrete_function(),
            "images": self.from_pixels.get_concrete_function(),
        }
