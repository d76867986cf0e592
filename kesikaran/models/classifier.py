"""The exported classifier: preprocessing, backbone and head in one graph."""

from typing import Any, Protocol

import tensorflow as tf

from kesikaran.config.schema import BackboneConfig
from kesikaran.data import augment, preprocess


class FeatureVector(Protocol):
    """What gives the features: a `Backbone`, or a `Network` that was fine-tuned."""

    @property
    def layer(self) -> Any: ...


class Classifier(tf.Module):
    """The module that is saved. Loading it needs neither this package nor the backbone's folder.

    Calling it: encoded images string [n] -> probability of label 1, float32 [n].
    Signatures (see `signatures`): `serving_default` takes encoded JPEG or PNG files, `images` takes decoded pixels.
    Both give logit float32 [n], probability = 1 / (1 + exp(-logit)) float32 [n] and label int64 [n], which is 1 where
    logit >= threshold. The decision of a run is part of the head's last layer and of the threshold
    (`metrics.decisions.fold`), so the logit is the log_odds of the run's `predictions.parquet`.

    The head gets the mean of the features of several views of an image (`data.augment.views`), or those of one.
    """

    def __init__(
        self, backbone: FeatureVector, config: BackboneConfig, head: Any, views: tuple[str, ...] = (augment.IDENTITY,)
    ):
        super().__init__(name="classifier")
        # The variables in place of the layers, which Keras would trace once more while saving
        self.backbone = list(backbone.layer.variables)
        self.head = list(head.variables)  # publish.model_template writes `head` and `threshold` by these names
        self.threshold = tf.Variable(0.0, dtype=tf.float32)
        self._config = config
        self._views = views
        layer = backbone.layer
        self._features = tf.autograph.experimental.do_not_convert(lambda x: layer(x, training=False))
        self._logits = lambda x: head(x, training=False)

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
        features = [self._features(augment.view(pixels, view)) for view in self._views]
        mean = tf.add_n(features) / len(features) if len(features) > 1 else features[0]
        logit = tf.squeeze(self._logits(mean), axis=1)
        label = tf.cast(logit >= self.threshold, tf.int64)
        return {"probability": tf.sigmoid(logit), "label": label, "logit": logit}

    def signatures(self) -> dict[str, Any]:
        """The `signatures` argument of `tf.saved_model.save`."""
        return {
            "serving_default": self.from_encoded.get_concrete_function(),
            "images": self.from_pixels.get_concrete_function(),
        }
