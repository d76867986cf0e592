"""Image files to the tensors that a backbone takes, several in one call of TensorFlow."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.config.schema import BackboneConfig
from kesikaran.data import image_file
from kesikaran.data.image_file import BadImage, Reason

if TYPE_CHECKING:
    import tensorflow as tf

TOGETHER = 8  # images decoded in one call, which itself costs up to a tenth of the decoding of one image


def decoder(
    paths: dict[str, Path], config: BackboneConfig, max_megapixels: float
) -> "Callable[[list[str]], list[tf.Tensor | str]]":
    """A function that reads images by their names (`paths`: name -> file). It is quickest for `TOGETHER` names a call.

    For each name it returns the image as float32 [size, size, 3], or the reason why it is refused.
    """
    import tensorflow as tf

    from kesikaran.data import preprocess

    def prepare(encoded: tf.Tensor) -> list[tf.Tensor]:
        with tf.device("CPU"):  # a GPU would round differently, and the features' key does not tell the device
            return [preprocess.resize(preprocess.decode(image, config), config) for image in tf.unstack(encoded)]

    alone, together = (
        tf.function(prepare, input_signature=[tf.TensorSpec([count], tf.string)], autograph=False)
        for count in (1, TOGETHER)
    )

    def decode_alone(encoded: bytes | str) -> tf.Tensor | str:
        if isinstance(encoded, str):
            return encoded
        try:
            return alone([encoded])[0]
        except tf.errors.InvalidArgumentError:
            return str(BadImage(Reason.damaged, "it cannot be decoded"))

    def decode(names: list[str]) -> list[tf.Tensor | str]:
        encoded = [_read(paths[name], max_megapixels) for name in names]
        if len(names) == TOGETHER and all(isinstance(content, bytes) for content in encoded):
            with contextlib.suppress(tf.errors.InvalidArgumentError):  # one by one below, to find the damaged image
                return list(together(encoded))
        return [decode_alone(content) for content in encoded]

    return decode


def _read(path: Path, max_megapixels: float) -> bytes | str:
    """The content of the file, or the reason why it is refused."""
    try:
        encoded = image_file.read_object(path)
        image_file.open_checked(encoded, max_megapixels).close()
        return encoded
    except BadImage as reason:
        return str(reason)
