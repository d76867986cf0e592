"""Image files to batches of decoded images, again and again: from memory where they fit there, else from the disk.

Files are read, decoded and resized as in the feature pass, several at once and ahead of who takes the batches.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import tensorflow as tf

from kesikaran.config.schema import BackboneConfig
from kesikaran.core import share, terminal
from kesikaran.core.errors import InputError, first_line
from kesikaran.data import image_file, image_pixels, libjpeg_lines, preprocess
from kesikaran.data.image_file import BadImage
from kesikaran.data.object_store import sha1_of

Augment = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(images float32 [n, size, size, 3], keys int64 [n], epoch int64) -> images of the same shape. It is traced into the
training step, and what it draws may depend on nothing but its arguments."""

_SHARE_OF_MEMORY = 0.25  # of what is free, for decoded images
_AHEAD = 2  # batches
_BATCH_SIZE = 32  # in which images are decoded to be kept


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch, a permutation of 0 to count - 1 that depends on nothing but the arguments: int64."""
    return np.random.default_rng([seed, epoch]).permutation(count)


class ImageRows:
    """The images of a run by their row numbers. keys: int64 [n], of each image the first 8 bytes of its SHA-1.
    image_size: in pixels, of height and width."""

    def __init__(self, object_ids: list[str], paths: list[Path], config: BackboneConfig, max_megapixels: float):
        """paths: of the files of `object_ids`. max_megapixels: a larger image is refused before it is decoded."""
        self.keys = np.array([int.from_bytes(bytes.fromhex(sha1_of(name))[:8], signed=True) for name in object_ids])
        self.image_size = config.image_size
        self._object_ids, self._paths = object_ids, paths
        self._config, self._max_megapixels = config, max_megapixels
        self._refused: list[str] = []
        self._kept: tf.Tensor | None = None

    def keep(self) -> None:
        """Decode all images and keep them, if they fit into a quarter of the free memory.

        Raises:
            InputError: an image cannot be decoded.
        """
        count, size = len(self._paths), self._config.image_size
        if self._kept is not None or count * size * size * 3 * 4 > _SHARE_OF_MEMORY * _free_bytes():
            return
        pixels = np.empty((count, size, size, 3), np.float32)
        with terminal.progress(None, "decode", "image", count) as bar:
            for rows, images in self._from_files(np.arange(count), _BATCH_SIZE):
                pixels[rows] = images
                bar.update(len(rows))
        with tf.device("CPU"):
            self._kept = tf.constant(pixels)

    def batches(self, rows: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """(row numbers int64 [m], images float32 [m, size, size, 3] in `value_range`) in the order of `rows`, int64
        [n]. m is `batch_size`, and what is left in the last batch.

        Raises:
            InputError: an image cannot be decoded any more.
        """
        kept = self._kept
        if kept is None:
            yield from self._from_files(rows, batch_size)
            return

        # Without tf.data: for each pass it would copy what its functions hold, and that is all images.
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            with tf.device("CPU"):
                images = tf.gather(kept, some)
            yield some, images

    def _from_files(self, rows: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        size, config = self._config.image_size, self._config

        @tf.autograph.experimental.do_not_convert
        def load(row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            encoded = tf.ensure_shape(tf.numpy_function(self._read, [row], tf.string), [])
            image = preprocess.resize(preprocess.decode(encoded, config), config)
            return row, tf.ensure_shape(image, (size, size, 3))

        data = tf.data.Dataset.from_tensor_slices(rows).map(load, share.cores(), deterministic=True)
        try:
            with libjpeg_lines.kept_back():
                for some, images in data.batch(batch_size).prefetch(_AHEAD):
                    yield some.numpy(), images
        except tf.errors.OpError as error:
            if isinstance(error, tf.errors.ResourceExhaustedError):
                raise
            why = self._refused[0] if self._refused else f"an image cannot be decoded: {first_line(error)}"
            raise InputError(
                f"{why}; its features are in the cache, so the file has changed since: mend it, or take the image out "
                "of the label file"
            ) from None

    def _read(self, row: int) -> bytes:
        """The bytes of an image. What is raised here gets lost on its way through TensorFlow, so it is noted."""
        try:
            with image_file.opened(self._paths[row], self._max_megapixels, sha1_of(self._object_ids[row])) as image:
                return image_pixels.as_seen(image) if self._config.as_seen else image.content
        except BadImage as reason:
            self._refused.append(f"image {self._object_ids[row]} cannot be used: {reason}")
            raise


def _free_bytes() -> int:
    """The memory that this process may still take, as far as the system says it; 0 where it does not."""
    free = 0
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with suppress(OSError, ValueError):  # a container may have less than its machine
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, most - used)
    return free
