"""Image files to the tensors that a backbone takes, several in one call of TensorFlow."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.config.schema import BackboneConfig
from kesikaran.data import image_file, libjpeg_lines
from kesikaran.data.image_file import BadImage, Encoded, Reason

if TYPE_CHECKING:
    import tensorflow as tf

TOGETHER = 8  # images decoded in one call, which itself costs up to a tenth of the decoding of one image
_SMALL = 10**6  # bytes and pixels; a larger image is decoded alone, since a group of them would take much memory


def decoder(
    paths: dict[str, Path], config: BackboneConfig, max_megapixels: float, remarks: dict[str, str] | None = None
) -> "Callable[[list[str]], list[tf.Tensor | str]]":
    """A function that reads images by their names (`paths`: name -> file). It is quickest for `TOGETHER` names a call.

    For each name it returns the image as float32 [size, size, 3], or the reason why it is refused. Called inside
    `libjpeg_lines.kept_back`, it asks libjpeg for its complaints only where libjpeg in TensorFlow has complained.

    Args:
        remarks: gets the names of whole images of which libjpeg complains, with its words.
    """
    import tensorflow as tf

    from kesikaran.data import preprocess

    remarks = {} if remarks is None else remarks

    def prepare(encoded: tf.Tensor) -> list[tf.Tensor]:
        with tf.device("CPU"):  # a GPU would round differently, and the features' key does not tell the device
            return [preprocess.resize(preprocess.decode(image, config), config) for image in tf.unstack(encoded)]

    alone, together = (
        tf.function(prepare, input_signature=[tf.TensorSpec([count], tf.string)], autograph=False)
        for count in (1, TOGETHER)
    )

    def decode_alone(name: str, image: Encoded) -> tf.Tensor | str:
        before = libjpeg_lines.heard()
        try:
            (pixels,) = alone([image.content])
            if before is None or libjpeg_lines.heard() != before:
                remark = image.complaint
                if remark:
                    remarks[name] = remark
            return pixels
        except tf.errors.InvalidArgumentError:
            return str(_undecoded(image))
        except BadImage as reason:
            return str(reason)

    def decode_together(images: list[Encoded]) -> "list[tf.Tensor] | None":
        """None where one of the images cannot be decoded, or libjpeg complains of one: each is then decoded alone."""
        before = libjpeg_lines.heard()
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            pixels = together([image.content for image in images])
            if before is not None and libjpeg_lines.heard() == before:
                return list(pixels)
        return None

    def decode(names: list[str]) -> list[tf.Tensor | str]:
        done: dict[str, tf.Tensor | str] = {}
        small: dict[str, Encoded] = {}
        for name in names:
            try:
                with image_file.opened(paths[name], max_megapixels) as image:
                    if max(len(image.content), image.pixels) <= _SMALL:
                        small[name] = image
                    else:
                        done[name] = decode_alone(name, image)
            except BadImage as reason:
                done[name] = str(reason)
        pixels = decode_together(list(small.values())) if len(small) == TOGETHER else None
        if pixels is not None:
            return pixels
        done |= {name: decode_alone(name, image) for name, image in small.items()}
        return [done[name] for name in names]

    return decode


def _undecoded(image: Encoded) -> BadImage:
    """Why TensorFlow cannot decode an image, in libjpeg's words where they are to be had."""
    try:
        _ = image.complaint
    except BadImage as reason:
        return reason
    return BadImage(Reason.damaged, "it cannot be decoded")
