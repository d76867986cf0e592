"""The head to be trained, and the classifier that is exported: backbone and head behind its own preprocessing."""

from typing import Any

import tensorflow as tf
import tf_keras

from kesikaran import images
from kesikaran.backbone import Backbone
from kesikaran.config import BackboneConfig, HeadConfig


def build_head(width: int, head: HeadConfig, seed: int) -> Any:
    """A tf_keras model: features float32 [n, width] -> logits float32 [n, 1]. No hidden units: linear."""
    layers = tf_keras.layers
    l2 = tf_keras.regularizers.L2(head.l2) if head.l2 else None

    def dense(units: int, position: int, activation: str | None) -> Any:
        glorot = tf_keras.initializers.GlorotUniform(seed=seed + position)
        return layers.Dense(units, activation, kernel_initializer=glorot, kernel_regularizer=l2)

    model = tf_keras.Sequential([layers.InputLayer((width,))], name="head")
    for position, units in enumerate(head.hidden_units):
        if head.dropout:
            model.add(layers.Dropout(head.dropout))
        model.add(dense(units, position, "relu"))
    if head.dropout:
        model.add(layers.Dropout(head.dropout))
    model.add(dense(1, len(head.hidden_units), None))
    return model


class Classifier(tf.Module):
    """What is saved. Needs neither this package nor the backbone's folder when it is loaded.

    Calling it: encoded images string [n] -> probability of label 1, float32 [n].
    Signatures (see `signatures`): `serving_default` from encoded JPEG or PNG, and `images` from
    decoded pixels; both give logit float32 [n], probability = 1 / (1 + exp(-logit)) float32 [n] and label
    int64 [n], 1 where logit >= threshold. A run's decision is in the head's last layer and in the threshold
    (`decisions.fold`), so that its logit is what `predictions.parquet` has as log_odds.
    """

    def __init__(self, backbone: Backbone, config: BackboneConfig, head: Any):
        super().__init__(name="classifier")
        # The variables, not the layers: Keras would trace every layer once more while saving.
        self.backbone = list(backbone.layer.variables)
        self.head = list(head.variables)  # export.py writes these two by their names
        self.threshold = tf.Variable(0.0, dtype=tf.float32)
        self._config = config
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
            lambda one: images.resize(images.decode(one, self._config), self._config),
            encoded,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        return self._classify(pixels)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="pixels")])
    def from_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """pixels: float32 [n, height, width, 3] in 0-255, of any size."""
        return self._classify(images.resize(pixels, self._config))

    def _classify(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        logit = tf.squeeze(self._logits(self._features(pixels)), axis=1)
        label = tf.cast(logit >= self.threshold, tf.int64)
        return {"probability": tf.sigmoid(logit), "label": label, "logit": logit}

    def signatures(self) -> dict[str, Any]:
        """What `tf.saved_model.save` is to export under which name."""
        return {
            "serving_default": self.from_encoded.get_concrete_function(),
            "images": self.from_pixels.get_concrete_function(),
        }
