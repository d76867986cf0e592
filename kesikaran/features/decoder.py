"""Encoded images to the tensors that a backbone takes, several in one call of TensorFlow."""

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from kesikaran.config.schema import BackboneConfig
from kesikaran.data import image_file, image_pixels, libjpeg_lines
from kesikaran.data.image_file import BadImage, Encoded, Reason
from kesikaran.data.object_store import sha1_of

if TYPE_CHECKING:
    import tensorflow as tf

TOGETHER = 8  # images decoded in one call, which itself costs up to a tenth of the decoding of one image
_SMALL = 10**6  # bytes and pixels; a larger image is decoded alone, since a group of them would take much memory


def decoder(
    paths: dict[str, Path],
    config: BackboneConfig,
    max_megapixels: float,
    remarks: dict[str, str] | None = None,
) -> "Callable[[list[str]], list[tf.Tensor | str]]":
    """A function that reads images by their object ids (`paths`: object id -> file). It is quickest for `TOGETHER` of
    them a call.

    For each it returns the image as float32 [size, size, 3], or the reason why it is refused. Called inside
    `libjpeg_lines.kept_back`, it asks libjpeg for its complaints only where libjpeg in TensorFlow has complained.

    Args:
        remarks: gets the object ids of whole images of which libjpeg complains, with its words.
    """
    images = Decoder.of(config)

    def decode(names: list[str]) -> "list[tf.Tensor | str]":
        opened: dict[str, AbstractContextManager[Encoded]]
        opened = {name: image_file.opened(paths[name], max_megapixels, sha1_of(name)) for name in names}
        return list(images.decode(opened, {} if remarks is None else remarks).values())

    return decode


class Decoder:
    """The decoding of images for a backbone."""

    _kept: ClassVar[dict[str, Self]] = {}

    @classmethod
    def of(cls, config: BackboneConfig) -> Self:
        """The decoder of a configuration. A process makes it once, since its graphs take seconds, and keeps the four
        latest."""
        key = repr(config)
        if key not in cls._kept:
            for oldest in list(cls._kept)[:-3]:
                cls._kept.pop(oldest, None)
            cls._kept[key] = cls(dataclasses.replace(config))  # the graphs read it later
        return cls._kept[key]

    def __init__(self, config: BackboneConfig):
        import tensorflow as tf

        from kesikaran.data import preprocess

        # Traced once: eight times in a graph, the conditions on an image's metadata would take five seconds.
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
        def one(encoded: tf.Tensor) -> tf.Tensor:
            with tf.device("CPU"):  # a GPU would round differently, and the features' key does not tell the device
                return preprocess.resize(preprocess.decode(encoded, config), config)

        def prepare(encoded: tf.Tensor) -> list[tf.Tensor]:
            return [one(image) for image in tf.unstack(encoded)]

        self._as_seen = config.as_seen
        self._alone, self._together = (
            tf.function(prepare, input_signature=[tf.TensorSpec([count], tf.string)], autograph=False)
            for count in (1, TOGETHER)
        )

    def decode(
        self, opened: dict[str, AbstractContextManager[Encoded]], remarks: dict[str, str]
    ) -> "dict[str, tf.Tensor | str]":
        """Name -> the image as float32 [size, size, 3] or the reason why it is refused, in the order of `opened`.

        Args:
            opened: name -> what `image_file.opened` or `image_file.judged` gives. remarks: as of `decoder`.
        """
        done: dict[str, tf.Tensor | str] = dict.fromkeys(opened, "")
        small: dict[str, Encoded] = {}
        for name, opening in opened.items():
            try:
                with opening as image:
                    if max(len(image.content), image.pixels) <= _SMALL:
                        small[name] = image
                    else:
                        done[name] = self._decode_alone(name, image, remarks)
            except BadImage as reason:
                done[name] = str(reason)
        together = self._decode_together(list(small.values())) if len(small) == TOGETHER else None
        if together is not None:
            return done | dict(zip(small, together, strict=True))
        return done | {name: self._decode_alone(name, image, remarks) for name, image in small.items()}

    def _decode_alone(self, name: str, image: Encoded, remarks: dict[str, str]) -> "tf.Tensor | str":
        import tensorflow as tf

        before = libjpeg_lines.heard()
        try:
            (pixels,) = self._alone([self._content(image)])
            if before is None or libjpeg_lines.heard() != before:
                remark = image.complaint
                if remark:
                    remarks[name] = remark
            return pixels
        except tf.errors.InvalidArgumentError:
            return str(_undecoded(image))
        except BadImage as reason:
            return str(reason)

    def _decode_together(self, images: list[Encoded]) -> "list[tf.Tensor] | None":
        """None where one of the images cannot be decoded, or libjpeg complains of one: each is then decoded alone."""
        import tensorflow as tf

        before = libjpeg_lines.heard()
        with contextlib.suppress(tf.errors.InvalidArgumentError, BadImage):
            pixels = self._together([self._content(image) for image in images])
            if before is not None and libjpeg_lines.heard() == before:
                return list(pixels)
        return None

    def _content(self, image: Encoded) -> bytes:
        return image_pixels.as_seen(image) if self._as_seen else image.content


def _undecoded(image: Encoded) -> BadImage:
    """Why TensorFlow cannot decode an image, in libjpeg's words where they are to be had."""
    try:
        _ = image.complaint
    except BadImage as reason:
        return reason
    return BadImage(Reason.damaged, "it cannot be decoded")
