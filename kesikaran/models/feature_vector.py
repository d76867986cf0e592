"""Proof that a module gives feature vectors: of each image its own, finite, always the same."""

from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.core import errors, waiting
from kesikaran.core.errors import InputError

# Features of feature maps, flattened, have 100,352. A batch of wider ones would not fit into memory.
MOST_FEATURES = 2**17
CALL_SECONDS = 20  # for two images. EfficientNet-B7 takes two
# A convolution of two images may differ from that of one by the order of its sums, on a GPU by its short fractions.
_LARGEST_DIFFERENCE = 0.01  # of the largest feature


def prove(handle: str, layer: Any, image_size: int, trusted: bool) -> int:
    """The width of the layer's features, float32 [n, width].

    Two images of noise go through it: their features must not depend on each other, be finite and have a row each.
    Before, the layer is traced, so that a width beyond all measure is seen and not computed. What a module computes on
    its way, and whether it ever ends, cannot be told before; a wait for it can be given up.

    Args:
        trusted: wait for the module however long it takes.

    Raises:
        InputError: it gives anything else, or nothing in time.
    """
    said = errors.printable(errors.without_password(handle))

    def call(images: np.ndarray) -> Any:
        seconds = None if trusted else CALL_SECONDS
        try:
            return waiting.interruptibly(lambda: layer(tf.constant(images)), seconds)
        except TimeoutError:
            raise InputError(
                f"{said} has not computed the features of {len(images)} images in {CALL_SECONDS} s: take another "
                "module, or set backbone.trusted=true to wait for it"
            ) from None

    noise = np.random.default_rng(0).random((2, image_size, image_size, 3), np.float32)
    try:
        traced = tf.function(layer).get_concrete_function(tf.TensorSpec((2, *noise.shape[1:]), tf.float32))
        _need_vectors(said, traced.structured_outputs, 2)
        alone, both = call(noise[:1]), call(noise)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{said} does not take images of float32 [n, {image_size}, {image_size}, 3]: {_reason(error)}; "
            "set backbone.image_size to its own, or give a feature-vector module"
        ) from None
    _need_vectors(said, alone, 1)
    _need_vectors(said, both, 2)
    first, again = alone.numpy()[0], both.numpy()[0]
    if not np.isfinite(both).all():
        raise InputError(f"{said} is no feature vector: it gives features that are not finite")
    if np.abs(first - again).max() > _LARGEST_DIFFERENCE * np.abs(both).max():
        raise InputError(
            f"{said} gives an image other features when another one is beside it, or at each call: a frozen backbone "
            "gives the same always"
        )
    return len(first)


def _need_vectors(said: str, features: Any, images: int) -> None:
    """Refuse what is not float32 [images, width]. A shape that tracing leaves open passes."""
    shape: Any = getattr(features, "shape", None)
    if shape is None:
        given = (
            f"{type(features).__name__} of {len(features)}" if isinstance(features, dict | list | tuple) else "nothing"
        )
    else:
        given = f"{features.dtype.name} {list(shape) if shape.rank is not None else 'of any shape'}"
    unknown = shape is not None and shape.rank is None
    rows_fit = unknown or (shape is not None and shape.rank == 2 and shape[0] in (None, images) and shape[1] != 0)
    if not rows_fit or features.dtype != tf.float32:
        raise InputError(
            f"{said} is no feature vector: of {images} image{'s' * (images > 1)} it gives {given} where float32 "
            f"[{images}, width] is needed"
        )
    if not unknown and shape[1] is not None and shape[1] > MOST_FEATURES:
        raise InputError(f"{said} gives {shape[1]} features an image, more than {MOST_FEATURES}: take another module")


def _reason(error: Exception) -> str:
    """The first line of an error that says something: Keras puts one before it that names its own layer."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        error = ValueError(lines[1])
    return errors.first_line(error)
