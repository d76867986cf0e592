"""Augmentation: the exact views of an image, whose features can be cached, and random changes of a batch."""

from typing import NamedTuple

import tensorflow as tf

from kesikaran.config.schema import AugmentConfig, AugmentName
from kesikaran.data import image_operations

IDENTITY = "identity"
_EPOCHS = 2**20  # more than a training may have
_RATIO = 4 / 3  # of the sides of a crop, at most (Szegedy et al. 2015)


class _View(NamedTuple):
    """Rows and columns are exchanged first, then the rows or the pixels in each row are put in reverse order."""

    transposed: bool
    up_down: bool
    left_right: bool


_VIEWS = {
    IDENTITY: _View(False, False, False),
    "flip_left_right": _View(False, False, True),
    "flip_up_down": _View(False, True, False),
    "rotate_180": _View(False, True, True),
    "transpose": _View(True, False, False),
    "rotate_90": _View(True, True, False),  # counter-clockwise
    "rotate_270": _View(True, False, True),
    "transverse": _View(True, True, True),
}


def views(name: AugmentName) -> tuple[str, ...]:
    """The views of an augmentation that has finitely many, the image as it is first; of others that one alone."""
    match name:
        case AugmentName.flips:
            return IDENTITY, "flip_left_right"
        case AugmentName.dihedral:
            return tuple(_VIEWS)
        case _:
            return (IDENTITY,)


def view(images: tf.Tensor, name: str) -> tf.Tensor:
    """[..., size, size, 3] of any dtype -> the same pixels, flipped or turned. name: one of `views`."""
    transposed, up_down, left_right = _VIEWS[name]
    if transposed:
        images = _transposed(images)
    axes = [axis for axis, is_reversed in ((-3, up_down), (-2, left_right)) if is_reversed]
    return tf.reverse(images, axes) if axes else images


def augmented(
    images: tf.Tensor,
    keys: tf.Tensor,
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor,
    config: AugmentConfig,
    value_range: list[float],
) -> tf.Tensor:
    """A batch with each image changed at random.

    What happens to an image depends on seed, epoch and its key alone: not on the batch that it is in, nor on its place
    there. Everything is computed for the batch as a whole, so that it is quick on any device.

    Args:
        images: float32 [n, size, size, 3] in `value_range`; in a program `size` is known where it is traced.
        keys: int64 [n], of each image a number that no other image has.
        seed: 0 to 2^32 - 1. epoch: 0 to 2^20 - 1.
        value_range: [low, high] of the pixels.

    Returns:
        float32 [n, size, size, 3] in `value_range`.
    """
    if config.name is AugmentName.none:
        return images
    if config.name not in (AugmentName.standard, AugmentName.trivial):
        return _drawn_view(images, _draws(keys, seed, epoch, 1)[0], config.name)
    low, high = value_range
    unit = (images - low) / (high - low)
    if config.name is AugmentName.standard:
        changed = _standard(unit, _draws(keys, seed, epoch, 7), config)
    else:
        changed = _trivial(unit, _draws(keys, seed, epoch, 3), config.strength)
    return changed * (high - low) + low


def _draws(keys: tf.Tensor, seed: int | tf.Tensor, epoch: int | tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` draws for each image, float64 [n] each, uniform in [0, 1)."""
    keys = tf.cast(keys, tf.int64)
    first = tf.cast(seed, tf.int64) * _EPOCHS + tf.cast(epoch, tf.int64)
    seeds = tf.stack([tf.fill(tf.shape(keys), first), keys], axis=1)
    with tf.device("CPU"):  # a few numbers for each image, for which a GPU would be started once each
        drawn = tf.map_fn(
            lambda of_image: tf.random.stateless_uniform([count], of_image, dtype=tf.float64, alg="philox"),
            seeds,
            fn_output_signature=tf.TensorSpec([count], tf.float64),
        )
    return tf.unstack(drawn, axis=1)


def _transposed(images: tf.Tensor) -> tf.Tensor:
    rank = len(images.shape)
    return tf.transpose(images, [*range(rank - 3), rank - 2, rank - 3, rank - 1])


def _drawn_view(images: tf.Tensor, draw: tf.Tensor, name: AugmentName) -> tf.Tensor:
    """One of the augmentation's views of each image, all of them equally likely."""
    names = views(name)
    chosen = tf.gather(tf.constant([_VIEWS[each] for each in names]), tf.cast(draw * len(names), tf.int32))
    transposed, up_down, left_right = (_of_images(flags) for flags in tf.unstack(chosen, axis=1))
    images = tf.where(transposed, _transposed(images), images)
    images = tf.where(up_down, tf.reverse(images, [-3]), images)
    return tf.where(left_right, tf.reverse(images, [-2]), images)


def _of_images(values: tf.Tensor) -> tf.Tensor:
    """[n] -> [n, 1, 1, 1]."""
    return values[:, None, None, None]


def _standard(images: tf.Tensor, draws: list[tf.Tensor], config: AugmentConfig) -> tf.Tensor:
    """Flipped or not, cropped, with another contrast and brightness. images: in [0, 1]."""
    flip, *of_crop, of_contrast, of_brightness = draws
    images = _cropped(_drawn_view(images, flip, AugmentName.flips), of_crop, config.crop)
    factor = 1 + config.contrast * (2 * of_contrast - 1)
    added = config.brightness * (2 * of_brightness - 1)
    factor, added = (_of_images(tf.cast(each, tf.float32)) for each in (factor, added))
    return image_operations.blended(images, image_operations.means(images), factor, added)


def _cropped(images: tf.Tensor, draws: list[tf.Tensor], least: float) -> tf.Tensor:
    """A part of each image, resized to its size. The part has at least the share `least` of the area."""
    of_area, of_ratio, of_top, of_left = draws
    area = least + (1 - least) * of_area
    # A ratio beyond the area or its inverse would make a side longer than the image's.
    low, high = tf.math.log(tf.maximum(area, 1 / _RATIO)), tf.math.log(tf.minimum(1 / area, _RATIO))
    ratio = tf.exp(low + (high - low) * of_ratio)
    width, height = tf.sqrt(area * ratio), tf.sqrt(area / ratio)
    size, nothing = images.shape[1], tf.zeros_like(area)
    # Pixel x of the part has its centre at (x + 0.5) width + left - 0.5 of the image.
    right, down = of_left * (1 - width) * size, of_top * (1 - height) * size
    rows = [width, nothing, right + (width - 1) / 2, nothing, height, down + (height - 1) / 2]
    return image_operations.warped(images, rows, "NEAREST")


def _trivial(images: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """One operation for each image, of any strength (Mueller and Hutter 2021) up to `strength`. images: in [0, 1]."""
    of_operation, of_strength, of_sign = draws
    chosen = _of_images(tf.cast(of_operation * len(image_operations.OPERATIONS), tf.int32))
    level = _of_images(tf.cast(strength * tf.where(of_sign < 0.5, -of_strength, of_strength), tf.float32))
    for number, operation in enumerate(image_operations.OPERATIONS):
        images = tf.where(chosen == number, operation(images, level), images)
    return images
