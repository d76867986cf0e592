"""A model that is ready to judge images: prepared as in training, by its own graph, with its own rule."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kesikaran.core import terminal
from kesikaran.core.errors import InputError, first_line
from kesikaran.publish.facts import Facts

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Judged:
    """What a model makes of n images. probability: of label 1, float32 [n]. log_odds: of label 1 by the decision,
    float32 [n]. label: by the run's own rule, int64 [n] of 0 and 1. sure: bool [n]."""

    probability: np.ndarray
    log_odds: np.ndarray
    label: np.ndarray
    sure: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """The model in the folder of a SavedModel, with its facts."""

    saved_model: Path
    facts: Facts

    def decode(self, contents: "list[bytes]") -> "list[tf.Tensor | str]":
        """Of each image, encoded as JPEG or PNG: float32 [size, size, 3] as the model takes it, or why it is refused.
        Several threads may call it at once."""
        from kesikaran.data import image_file

        opened = {
            str(place): image_file.judged(content, self.facts.max_megapixels) for place, content in enumerate(contents)
        }
        return list(self._decoder.decode(opened, {}).values())

    def judge(self, images: "list[tf.Tensor]") -> Judged:
        """What the model makes of images that `decode` has prepared, in one forward pass. It may be called before
        another call has ended."""
        return self.judge_features(self.features(images))

    def features(self, images: "list[tf.Tensor]") -> np.ndarray:
        """float32 [n, width] of prepared images, the mean over the views of the model."""
        import tensorflow as tf

        from kesikaran.data import augment

        # A lone image gets a black one beside it: oneDNN computes a batch of one by another way, with other last bits
        # and on some processors twenty times as slowly.
        with tf.device("CPU"):
            stacked = tf.stack(images if len(images) > 1 else [*images, tf.zeros_like(images[0])])
        views = [self.module.features(augment.view(stacked, view)).numpy()[: len(images)] for view in self.facts.views]
        return views[0] if len(views) == 1 else np.asarray(np.add.reduce(views) / np.float32(len(views)))

    def judge_features(self, features: np.ndarray) -> Judged:
        """What the head makes of features float32 [n, width], as `features` gives them."""
        found = {name: value.numpy() for name, value in self.module.judged(features).items()}
        return Judged(found["probability"], found["logit"], found["label"], found["sure"])

    @cached_property
    def module(self) -> Any:
        """The loaded SavedModel: see `models.classifier.Classifier`.

        Raises:
            InputError: it is damaged.
        """
        with terminal.quiet_start():
            import tensorflow as tf
        try:
            return tf.saved_model.load(str(self.saved_model))
        except Exception as error:
            raise InputError(f"{self.saved_model} is damaged: {first_line(error)}") from None

    @property
    def _decoder(self) -> Any:
        from kesikaran.features.decoder import Decoder

        return Decoder.of(self.facts.backbone)
