"""What is done to a batch of images in [0, 1] to augment it, each image by numbers of its own.

What becomes of an image is the same in every batch. So sums whose order a batch may decide, and functions that are
computed another way at the end of a batch than in its middle, are computed in float64: their last bits are lost.
"""

import math
from collections.abc import Callable

import tensorflow as tf

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def warped(images: tf.Tensor, rows: list[tf.Tensor], outside: str) -> tf.Tensor:
    """Images whose pixel (x, y) is that at (a x + b y + c, d x + e y + f), bilinear. rows: a to f, float64 [n] each.
    outside: NEAREST repeats the border, CONSTANT gives black."""
    transforms = tf.stack([*rows, *[tf.zeros_like(rows[0])] * 2], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.cast(transforms, tf.float32),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=outside,
    )


def blended(images: tf.Tensor, without: tf.Tensor, factor: tf.Tensor, added: tf.Tensor | float = 0.0) -> tf.Tensor:
    """The deviations of images from what they are `without` a quality, times a factor. Clipped to [0, 1]."""
    return tf.clip_by_value(without + factor * (images - without) + added, 0.0, 1.0)


def _grey(images: tf.Tensor) -> tf.Tensor:
    red, green, blue = (weight * images[..., n : n + 1] for n, weight in enumerate(_GREY))
    return red + green + blue


def means(images: tf.Tensor) -> tf.Tensor:
    """The mean grey of each image, [n, 1, 1, 1]."""
    mean = tf.reduce_mean(tf.cast(_grey(images), tf.float64), axis=[1, 2, 3], keepdims=True)
    return tf.cast(mean, tf.float32)


def _moved(
    shear_x: float = 0.0, shear_y: float = 0.0, degrees: float = 0.0, right: float = 0.0, down: float = 0.0
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """An operation that shears or turns about the centre, or shifts, by these at level 1. right, down: shares of the
    size."""

    def operation(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
        size, by = images.shape[1], tf.cast(level[:, 0, 0, 0], tf.float64)
        cos, sin = tf.cos(math.radians(degrees) * by), tf.sin(math.radians(degrees) * by)
        b, d, centre = shear_x * by - sin, shear_y * by + sin, (size - 1) / 2
        c = centre * (1 - cos - b) + right * size * by
        f = centre * (1 - d - cos) + down * size * by
        return warped(images, [cos, b, c, d, cos, f], "CONSTANT")

    return operation


def _smooth(images: tf.Tensor) -> tf.Tensor:
    """Each pixel averaged with its eight neighbours, itself counting five times."""
    size = images.shape[1]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    nine = [padded[:, y : y + size, x : x + size] for y in range(3) for x in range(3)]
    return (tf.add_n(nine) + 4 * images) / 13


def _autocontrasted(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    low, high = (of(images, axis=[1, 2], keepdims=True) for of in (tf.reduce_min, tf.reduce_max))
    return tf.where(high > low, tf.math.divide_no_nan(images - low, high - low), images)


def _equalized(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Each of 256 levels of a channel becomes the share of the pixels below it, of those below the highest level."""
    by_channel = tf.transpose(images, [0, 3, 1, 2])
    levels = tf.reshape(tf.cast(tf.round(255 * by_channel), tf.int32), [-1, images.shape[1] * images.shape[2]])
    counts = tf.math.bincount(levels, minlength=256, maxlength=256, axis=-1)
    below = tf.cast(tf.cumsum(counts, axis=1, exclusive=True), tf.float32)
    most = tf.reduce_max(tf.where(counts > 0, below, 0.0), axis=1, keepdims=True)
    shares = tf.gather(tf.math.divide_no_nan(below, most), levels, batch_dims=1)
    found = tf.where(most > 0, shares, tf.cast(levels, tf.float32) / 255)
    return tf.transpose(tf.reshape(found, tf.shape(by_channel)), [0, 2, 3, 1])


def _posterized(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Of eight bits the upper ones are kept, four at level 1."""
    step = tf.gather([1.0, 2.0, 4.0, 8.0, 16.0], tf.cast(tf.round(4 * tf.abs(level)), tf.int32))
    return tf.floor(tf.round(255 * images) / step) * step / 255


# Of images float32 [n, size, size, 3] in [0, 1] and levels float32 [n, 1, 1, 1] in [-1, 1]. At level 1 an operation is
# as strong as RandAugment has it at most (Cubuk et al. 2020).
OPERATIONS: list[Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = [
    lambda images, _: images,
    _moved(shear_x=0.3),
    _moved(shear_y=0.3),
    _moved(right=0.3),
    _moved(down=0.3),
    _moved(degrees=30.0),
    lambda images, level: blended(images, tf.zeros_like(images), 1 + 0.9 * level),  # brightness
    lambda images, level: blended(images, means(images), 1 + 0.9 * level),  # contrast
    lambda images, level: blended(images, _grey(images), 1 + 0.9 * level),  # colour
    lambda images, level: blended(images, _smooth(images), 1 + 0.9 * level),  # sharpness
    lambda images, level: tf.where(images <= 1 - tf.abs(level), images, 1 - images),  # solarize
    _posterized,
    _autocontrasted,
    _equalized,
]
