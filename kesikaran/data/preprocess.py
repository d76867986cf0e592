"""From encoded bytes to float tensors, by the same functions in the feature pass and in the exported model."""

import tensorflow as tf

from kesikaran.config.schema import BackboneConfig, JpegDecode
from kesikaran.data import as_people_see


def decode(encoded: tf.Tensor, backbone: BackboneConfig) -> tf.Tensor:
    """Scalar string (JPEG or PNG) -> uint8 [height, width, 3]. Grey is repeated.

    With `backbone.as_seen` the image is as a viewer shows it: a JPEG has the pixels that Pillow and browsers give it
    and is turned by its EXIF orientation, a transparent PNG lies on white. A CMYK JPEG gets TensorFlow's own conversion
    here; `image_pixels.as_seen` converts it before. Else the orientation is not read, and alpha is dropped.

    With `backbone.jpeg_decode=reduced` a JPEG is decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 of its size that
    leaves no side shorter than `image_size`. libjpeg then skips frequencies that the resize would remove.
    """
    if backbone.jpeg_decode is JpegDecode.full and not backbone.as_seen:
        return _decode_full(encoded)
    return tf.cond(tf.io.is_jpeg(encoded), lambda: _jpeg(encoded, backbone), lambda: _png(encoded, backbone))


def leave_gpus_free() -> None:
    """For a command that only decodes, which the CPU does: TensorFlow would take the memory of every GPU that it sees
    from a training that runs there. To be called before anything is computed."""
    tf.config.set_visible_devices([], "GPU")


def decodes(encoded: bytes) -> bool:
    """Whether `decode` takes the bytes."""
    try:
        with tf.device("CPU"):
            _decode_full(tf.constant(encoded))
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _decode_full(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _jpeg(encoded: tf.Tensor, backbone: BackboneConfig) -> tf.Tensor:
    if not backbone.as_seen:
        return _decode_reduced(encoded, backbone, "")
    # TensorFlow's default is the quick transform, which is darker by a level in the mean. This one is what Pillow and
    # browsers have, to the bit.
    accurate = "INTEGER_ACCURATE"
    if backbone.jpeg_decode is JpegDecode.reduced:
        pixels = _decode_reduced(encoded, backbone, accurate)
    else:
        pixels = tf.io.decode_jpeg(encoded, channels=3, dct_method=accurate)
    return as_people_see.turned(pixels, as_people_see.orientation(encoded))


def _png(encoded: tf.Tensor, backbone: BackboneConfig) -> tf.Tensor:
    if not backbone.as_seen:
        return _decode_full(encoded)
    return tf.cond(
        as_people_see.has_transparency(encoded),
        lambda: as_people_see.on_white(tf.io.decode_png(encoded, channels=4)),
        lambda: _decode_full(encoded),
    )


def _decode_reduced(encoded: tf.Tensor, backbone: BackboneConfig, dct_method: str) -> tf.Tensor:
    shorter = tf.reduce_min(tf.io.extract_jpeg_shape(encoded)[:2])
    ratios = (1, 2, 4, 8)
    at = {ratio: lambda ratio=ratio: tf.io.decode_jpeg(encoded, 3, ratio, dct_method=dct_method) for ratio in ratios}
    halvings = tf.reduce_sum(tf.cast(shorter // tf.constant(ratios[1:]) >= backbone.image_size, tf.int32))
    return tf.switch_case(halvings, list(at.values()))


def resize(image: tf.Tensor, backbone: BackboneConfig) -> tf.Tensor:
    """[..., height, width, 3] in 0-255 -> float32 [..., size, size, 3] in `backbone.value_range`.

    The whole image is resized to a square, without a crop. Bicubic and Lanczos can overshoot 0-255, so pixels are
    clipped to it.
    """
    size = (backbone.image_size, backbone.image_size)
    pixels = tf.image.resize(image, size, method=backbone.resize_method.name, antialias=backbone.antialias)
    low, high = backbone.value_range
    return tf.clip_by_value(pixels, 0.0, 255.0) * ((high - low) / 255.0) + low


def preprocessing(backbone: BackboneConfig) -> dict[str, object]:
    """A description of what `decode` and `resize` do. It is part of the key of cached features and models."""
    reduced = backbone.jpeg_decode is JpegDecode.reduced
    seen = ", accurate DCT, orientation applied, transparency on white, CMYK by Pillow" if backbone.as_seen else ""
    return {
        "decode": "tf.io.decode_image, 3 channels" + (", JPEG reduced" if reduced else "") + seen,
        "image_size_px": backbone.image_size,
        "resize_method": backbone.resize_method.name,
        "antialias": backbone.antialias,
        "value_range": list(backbone.value_range),
        "dtype": "float32",
    }
