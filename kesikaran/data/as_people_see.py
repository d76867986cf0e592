"""Encoded images to the pixels that a viewer shows, in TensorFlow's operations, so that an exported model has it."""

import tensorflow as tf

_ORIENTATION_TAG, _SHORT = 0x0112, 3  # of EXIF: the tag, and its type
_ENTRY_BYTES = 12  # of a directory of EXIF
_MOST_ENTRIES = 1000
_MOST_PARTS = 1000  # segments or chunks that are looked at: a file may have millions of them
_DATA, _TRANSPARENT = (int.from_bytes(kind) for kind in (b"IDAT", b"tRNS"))  # kinds of chunks of a PNG
_PLACE_VALUES = [256**3, 256**2, 256, 1]


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG: scalar string -> scalar int32, 1 to 8; 1 where the file tells none, or none that
    can be read (CIPA DC-008, Exif 2.32, section 4.6.4)."""
    start = _exif(encoded)
    return tf.cond(start > 0, lambda: _tag(encoded, start), lambda: tf.constant(1))


def _exif(encoded: tf.Tensor) -> tf.Tensor:
    """Where the TIFF header of a JPEG's EXIF segment begins, scalar int32; 0 where there is no such segment before the
    picture's data."""
    length = tf.strings.length(encoded)

    def is_segment(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (found == 0) & (place + 4 <= length)

    def following(place: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = tf.cast(_bytes(encoded, place, 4), tf.int32)
        kind = head[1]
        size = 256 * head[2] + head[3]
        is_exif = (kind == 0xE1) & (_text(encoded, place + 4, 6) == b"Exif\0\0")
        ends = (head[0] != 0xFF) | (kind == 0xDA) | (kind == 0xD9)  # no segment, the picture's data, the end
        after = tf.where(kind == 0xFF, place + 1, place + 2 + size)  # a segment may have fill bytes before it
        return tf.where(ends, length, after), tf.where(is_exif & ~ends, place + 10, 0)

    return tf.while_loop(is_segment, following, (tf.constant(2), tf.constant(0)), maximum_iterations=_MOST_PARTS)[1]


def _tag(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of the TIFF header at `start`."""
    is_little = _text(encoded, start, 4) == b"II*\0"
    is_tiff = is_little | (_text(encoded, start, 4) == b"MM\0*")

    def number(raw: tf.Tensor) -> tf.Tensor:
        """uint8 [..., n] -> int64 [...], in the byte order of the file."""
        ordered = tf.cast(tf.where(is_little, tf.reverse(raw, [-1]), raw), tf.int64)
        place_values = 256 ** tf.range(tf.shape(raw)[-1] - 1, -1, -1)
        return tf.reduce_sum(ordered * tf.cast(place_values, tf.int64), -1)

    first = tf.cast(start, tf.int64) + number(_bytes(encoded, start + 4, 4))
    first = tf.cast(tf.minimum(first, tf.cast(tf.strings.length(encoded), tf.int64)), tf.int32)
    count = tf.minimum(tf.cast(number(_bytes(encoded, first, 2)), tf.int32), _MOST_ENTRIES)
    entries = tf.reshape(_bytes(encoded, first + 2, _ENTRY_BYTES * count), [-1, _ENTRY_BYTES])
    is_it = (number(entries[:, :2]) == _ORIENTATION_TAG) & (number(entries[:, 2:4]) == _SHORT)
    values = tf.cast(number(tf.boolean_mask(entries, is_it)[:, 8:10]), tf.int32)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where(is_tiff & (value >= 1) & (value <= 8), value, 1)


def turned(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """[height, width, 3], turned and mirrored by its EXIF orientation, int32 of 1 to 8, so that it is upright."""

    def upright() -> tf.Tensor:
        place = orientation - 1
        mirrored = tf.cond(place // 4 > 0, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
        # After the transposition of 5 to 8: which of the axes run backwards.
        flips_rows = tf.gather([False, False, True, True, False, False, True, True], place)
        flips_columns = tf.gather([False, True, True, False, False, True, True, False], place)
        rows = tf.cond(flips_rows, lambda: tf.reverse(mirrored, [0]), lambda: mirrored)
        return tf.cond(flips_columns, lambda: tf.reverse(rows, [1]), lambda: rows)

    return tf.ensure_shape(tf.cond(orientation == 1, lambda: pixels, upright), [None, None, 3])


def has_transparency(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has an alpha channel or colours that are declared transparent: scalar string -> bool. False for a
    file of another format."""
    is_png = _text(encoded, tf.constant(0), 8) == b"\x89PNG\r\n\x1a\n"
    colour = _text(encoded, tf.constant(25), 1)
    has_alpha = (colour == b"\x04") | (colour == b"\x06")
    return is_png & (has_alpha | tf.cond(is_png & ~has_alpha, lambda: _declares(encoded), lambda: tf.constant(False)))


def _declares(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has a chunk tRNS before its data."""
    length = tf.strings.length(encoded)

    def is_chunk(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return ~found & (place + 8 <= length)

    def following(place: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, place, 8), tf.uint8), tf.int64)
        size, kind = tf.unstack(tf.reduce_sum(tf.reshape(head, [2, 4]) * _PLACE_VALUES, 1))
        after = tf.cast(tf.minimum(tf.cast(place, tf.int64) + 12 + size, tf.cast(length, tf.int64)), tf.int32)
        return tf.where(kind == _DATA, length, after), kind == _TRANSPARENT

    return tf.while_loop(is_chunk, following, (tf.constant(8), tf.constant(False)), maximum_iterations=_MOST_PARTS)[1]


def on_white(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [height, width, 4] -> uint8 [height, width, 3] on a white ground.

    In whole numbers, rounded as Pillow's `alpha_composite` does it, so that an image that was converted before has the
    same pixels.
    """
    whole = tf.cast(pixels, tf.int32)
    colours, alpha = whole[..., :3], whole[..., 3:]
    mixed = 128 * (colours * alpha + 255 * (255 - alpha) + 128)
    return tf.cast((mixed // 256 + mixed) // 256 // 128, tf.uint8)


def _text(encoded: tf.Tensor, place: tf.Tensor, count: int) -> tf.Tensor:
    """`count` bytes from `place` on, as a string; fewer where the file ends."""
    return tf.strings.substr(encoded, tf.minimum(place, tf.strings.length(encoded)), count)


def _bytes(encoded: tf.Tensor, place: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """uint8 [count] from `place` on; what lies behind the end of the file is 0."""
    some = tf.strings.substr(encoded, tf.minimum(place, tf.strings.length(encoded)), count)
    raw = tf.io.decode_raw(some, tf.uint8)
    return tf.pad(raw, [[0, count - tf.shape(raw)[0]]])
