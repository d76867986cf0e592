"""The pass of the backbone: images to shards of features, decoded on all cores while the backbone runs."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kesikaran.config.schema import BackboneConfig
from kesikaran.core import parallel, terminal, waiting
from kesikaran.core.errors import InputError
from kesikaran.data import libjpeg_lines
from kesikaran.data.object_store import sha1_of
from kesikaran.features.decoder import TOGETHER, decoder
from kesikaran.features.shards import Shards

if TYPE_CHECKING:
    from kesikaran.features.engines import FeatureVector

_MERGE_EVERY = 128  # batches; until then each batch is a shard of its own


def key(object_id: str) -> bytes:
    """The 20 bytes of its SHA-1, by which the shards know an image."""
    return bytes.fromhex(sha1_of(object_id))


def lacks(known: dict[str, Shards], name: str) -> bool:
    """Whether a view lacks the image."""
    sha1 = key(name)
    return any(sha1 not in shards for shards in known.values())


def compute(
    todo: dict[str, Path],
    backbone: "FeatureVector",
    config: BackboneConfig,
    max_megapixels: float,
    known: dict[str, Shards],
    remarks: dict[str, str],
    bar: Any = None,
) -> tuple[int, dict[str, str]]:
    """Compute the features of the images `todo` (object id -> file) and append them to the shards of each view.
    `remarks`: see `decoder`. bar: is told of each image; None: one of its own.

    Images are decoded once for all views, on all cores while the backbone runs. Every batch is on disk before the next
    one starts. Several processes may do this at once: each takes the batches in a random order of its own and leaves
    out the images that another has written meanwhile. Two compute the same images only while they are at the same
    batch.

    Returns:
        How many images were computed here, and object id -> reason of those refused.
    """
    from kesikaran.features import engines

    if not todo:
        return 0, {}
    refused: dict[str, str] = {}
    computed = batches = 0
    batch: dict[bytes, Any] = {}
    batch_size = _batch_size(config)
    forward = engines.forward(backbone, config, batch_size)
    decode = decoder(todo, config, max_megapixels, remarks)
    ahead = -(-4 * batch_size // TOGETHER)
    with (
        libjpeg_lines.kept_back(),
        contextlib.closing(parallel.ordered(decode, _drawn(todo, batch_size, known), ahead)) as groups,
        contextlib.nullcontext(bar) if bar else terminal.progress(None, "features", "image", len(todo)) as told,
    ):
        for name, image in (pair for names, several in groups for pair in zip(names, several, strict=True)):
            told.update()
            if isinstance(image, str):
                refused[name] = image
            else:
                batch[key(name)] = image
            if len(batch) == batch_size:
                computed += _append(batch, forward, batch_size, backbone.width, known)
                batches += 1
                if batches % _MERGE_EVERY == 0:
                    for shards in known.values():
                        shards.merge()
        computed += _append(batch, forward, batch_size, backbone.width, known)
    for shards in known.values():
        if computed:
            shards.merge()
        shards.look()
    return computed, refused


def _batch_size(config: BackboneConfig) -> int:
    import tensorflow as tf

    return config.batch_size or (256 if tf.config.list_logical_devices("GPU") else 32)


def _drawn(todo: dict[str, Path], batch_size: int, known: dict[str, Shards]) -> Iterator[list[str]]:
    """The object ids, batches in random order, in groups of at most `TOGETHER`. Ids that the shards have got meanwhile
    are left out."""
    names = sorted(todo)
    batches = [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    random.SystemRandom().shuffle(batches)  # a random state apart from that of the run, which stays as it is
    for batch in batches:
        for start in range(0, len(batch), TOGETHER):
            missing = [name for name in batch[start : start + TOGETHER] if lacks(known, name)]
            if missing:
                yield missing


def _append(
    batch: dict[bytes, Any], forward: Callable[[Any], np.ndarray], batch_size: int, width: int, known: dict[str, Shards]
) -> int:
    """Compute the features of `batch` and append them to the shards of each view. Empties the batch; returns how many
    images were computed.
    """
    computed: set[bytes] = set()
    for view, shards in known.items():
        shards.look()
        missing = {sha1: image for sha1, image in batch.items() if sha1 not in shards}
        if missing:
            shards.append(_features(missing, view, forward, batch_size, width))
            computed |= set(missing)
    batch.clear()
    return len(computed)


def _features(
    missing: dict[bytes, Any], view: str, forward: Callable[[Any], np.ndarray], batch_size: int, width: int
) -> dict[bytes, np.ndarray]:
    """SHA-1 -> the features of a view of the image, of at most `batch_size` images.

    The backbone always gets `batch_size` images, filled up with black ones. A convolution may be computed differently
    for another batch size, and the last bits of a feature would then depend on where the pass was stopped.

    Raises:
        InputError: the backbone gives something else than `width` finite numbers for each image.
    """
    import tensorflow as tf

    from kesikaran.data import augment

    pixels = list(missing.values())
    with tf.device("CPU"):  # stacked here, so that a GPU gets them in one copy
        filled = augment.view(tf.stack(pixels + [tf.zeros_like(pixels[0])] * (batch_size - len(pixels))), view)
    features = waiting.interruptibly(lambda: forward(filled))
    if features.shape[:1] != (batch_size,) or features.shape[1:] != (width,):
        raise InputError(
            f"the backbone gives features of {list(features.shape)} for {batch_size} images, where it gave {width} for "
            "one image: it is no feature vector"
        )
    for sha1, row in zip(missing, features, strict=False):
        if not np.isfinite(row).all():
            raise InputError(
                f"the backbone gives features that are not finite for image {sha1.hex()}: remove the image from the "
                "label file, or take another backbone or backbone.value_range"
            )
    return dict(zip(missing, features, strict=False))
