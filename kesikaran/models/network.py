"""The network that is fine-tuned: a backbone whose variables can be trained, and a head."""

import re
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kesikaran.config.schema import FinetuneConfig, HeadConfig, Trains
from kesikaran.core import errors
from kesikaran.core.errors import InputError
from kesikaran.data import augment
from kesikaran.models import folded_lite0, hub
from kesikaran.models.backbone import Backbone
from kesikaran.models.head import build_head

_BLOCK = re.compile(r"blocks_(\d+)_")  # as the embedded backbone names the variables of its blocks
_NORM = re.compile(r"(^|/)(gamma|beta)(:\d+)?$")  # the scale and the offset of a normalization, as Keras names them
_MOST_LAYERS = 18  # of a backbone without known blocks: else the lowest of 200 layers would hardly be trained


class Network(tf.Module):
    """A backbone and a head, to be trained together.

    One process has one trainable copy of a backbone, since each further one would leak: a second network on the same
    backbone takes the first one's variables over. layer: the backbone. head: a tf_keras model without dropout and L2,
    which are settings of the probe. strategy: of the devices that train it together, each with a copy of all variables;
    None where one device does.
    """

    def __init__(self, net: Backbone, config: HeadConfig, strategy: tf.distribute.Strategy | None = None):
        """
        Raises:
            InputError: the backbone has no variables that can be trained.
        """
        super().__init__(name="network")
        self.strategy = strategy
        layer, self._first = _trainable(net, strategy)
        self.layer = layer
        self._quick = _folded(layer)
        with self.scope():
            self.head = build_head(net.width, HeadConfig(hidden_units=list(config.hidden_units)), seed=0)
        self._forward: dict[tuple[str, ...], Any] = {}

    def scope(self) -> AbstractContextManager[Any]:
        """In it each new variable gets a copy on each device."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def start(self, head: list[np.ndarray]) -> None:
        """Set the backbone's variables to what its file holds, and those of the head to `head`, arrays as the head's
        `get_weights()` gives them."""
        for variable, value in zip(self.layer.variables, self._first, strict=True):
            variable.assign(value)
        self.head.set_weights(head)

    def features(self, images: tf.Tensor, training: bool, mixed_precision: bool = False) -> tf.Tensor:
        """float32 [n, size, size, 3] -> float32 [n, width].

        Args:
            training: BatchNorm computes with the mean and variance of the batch, and moves its own towards them; else
                with its own. Its scale and offset get gradients in both.
            mixed_precision: the convolutions are computed in bfloat16, whose range is that of float32, so that no loss
                has to be scaled. Where `need_trainable` allows it.
        """
        if self._quick and not training:
            return self._quick(images, tf.bfloat16 if mixed_precision else tf.float32)
        return self.layer(images, training=training)

    def predict(self, images: tf.Tensor, views: tuple[str, ...] = (augment.IDENTITY,)) -> np.ndarray:
        """float32 [n, size, size, 3] -> logits float32 [n], of the mean of the features of these views. It is compiled
        once for all n."""
        if views not in self._forward:
            spec = tf.TensorSpec([None, None, None, 3], tf.float32)
            self._forward[views] = tf.function(lambda x: self._logits(x, views), [spec], autograph=False)
        logits: np.ndarray = self._forward[views](images).numpy()[:, 0]
        return logits

    def _logits(self, images: tf.Tensor, views: tuple[str, ...]) -> tf.Tensor:
        features = [self.features(augment.view(images, view), training=False) for view in views]
        return self.head(tf.add_n(features) / len(features), training=False)

    def save_backbone(self, folder: Path) -> None:
        """Write the backbone as it is now, as a feature vector in the TF-Hub format, to `folder`, which does not exist
        yet. It can be trained further."""
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(self.layer.resolved_object, str(folder), options=options)
        (folder / "fingerprint.pb").unlink(missing_ok=True)  # holds a random number, and the digest would too

    @property
    def statistics(self) -> list[Any]:
        """The variables that no gradient reaches, such as the moving mean and variance of BatchNorm."""
        return list(self.layer.non_trainable_variables)

    def trained(self, config: FinetuneConfig) -> list[tuple[Any, int]]:
        """The variables that are trained, those of the head last, and of each its depth: how many layers of the
        backbone lie above it. The depth of the head is 0, as is that of the backbone's highest layer."""
        return [*chosen(self.layer.trainable_variables, config), *((v, 0) for v in self.head.trainable_variables)]


def forget() -> None:
    """Have Keras forget the heads of networks that are not used any more, so that the memory of a sweep does not grow
    with its jobs."""
    tf_keras.backend.clear_session()


def need_trainable(net: Backbone, config: FinetuneConfig, strategy: tf.distribute.Strategy | None = None) -> None:
    """Raises InputError where the backbone has no variables that can be trained, or not those that are asked for, or
    where the devices of `strategy` cannot do it together."""
    if config.update_statistics and strategy:
        raise InputError(
            f"finetune.update_statistics=True is not allowed on {strategy.num_replicas_in_sync} devices, of which each "
            "would see the mean and variance of its part of a batch alone; give finetune.update_statistics=false, or "
            "leave one GPU visible by CUDA_VISIBLE_DEVICES=0"
        )
    layer, _ = _trainable(net, strategy)
    chosen(layer.trainable_variables, config)
    if config.update_statistics and not layer.non_trainable_variables:
        raise InputError("finetune.update_statistics=True does nothing: the backbone has no moving mean and variance")
    if config.mixed_precision and not _folded(layer):
        raise InputError(
            "finetune.mixed_precision=True is not allowed: the precision of a SavedModel is fixed in its file; leave "
            "it out, or take backbone=efficientnet_lite0, whose network is built here"
        )


@lru_cache(maxsize=1)  # looked at once, before a training that fails can leave NaN in the variables
def _folded(layer: Any) -> Any:
    return folded_lite0.features(layer)


def _trainable(net: Backbone, strategy: tf.distribute.Strategy | None) -> tuple[Any, list[Any]]:
    layer, first = hub.load_trainable(net.handle, net.folder, net.digest, strategy)
    if not layer.trainable_variables:
        raise InputError(
            f"a frozen SavedModel: {errors.printable(errors.without_password(net.handle))} has no trainable variables, "
            "so it cannot be fine-tuned; finetune=none trains a head on it, or export it as a TF-Hub feature vector "
            "that lists its trainable_variables (tf_keras: model.save(folder, save_format='tf'))"
        )
    return layer, first


def chosen(variables: list[Any], config: FinetuneConfig) -> list[tuple[Any, int]]:
    """The variables of a backbone that `config` trains, and of each its depth.

    Args:
        variables: all that can be trained, in the order in which an image passes them.

    Raises:
        InputError: none is trained, or there are fewer blocks than asked for.
    """
    names = [variable.name for variable in variables]
    has_blocks = any(_BLOCK.match(name) for name in names)
    layers = _by_block(names) if has_blocks else _by_order([len(variable.shape) for variable in variables])
    found = [(variable, max(layers) - layer) for variable, layer in zip(variables, layers, strict=True)]
    if config.trains is Trains.batchnorm:
        found = [(variable, depth) for variable, depth in found if _NORM.search(variable.name)]
        if not found:
            raise InputError(
                "finetune.trains=batchnorm trains nothing: the backbone has no scale and offset of BatchNorm by the "
                "names gamma and beta; take finetune=last_blocks or probe_then_all"
            )
    if config.trains is Trains.last_blocks:
        # With known blocks depth 0 is what lies above them, which is trained with them.
        most = max(layers) - 1 if has_blocks else max(layers) + 1
        if config.blocks > most:
            raise InputError(f"finetune.blocks={config.blocks} is not allowed: the backbone has {most}")
        found = [(variable, depth) for variable, depth in found if depth < config.blocks + has_blocks]
    return found


def _by_block(names: list[str]) -> list[int]:
    """The number of each variable's layer from below: 0 is what comes before the first block, then block by block, and
    the last is what comes after the last block."""
    blocks = [int(found[1]) if (found := _BLOCK.match(name)) else None for name in names]
    first = next(place for place, block in enumerate(blocks) if block is not None)
    above = max(block for block in blocks if block is not None) + 2
    return [block + 1 if block is not None else (0 if place < first else above) for place, block in enumerate(blocks)]


def _by_order(ranks: list[int]) -> list[int]:
    """The same without known blocks: a layer is a kernel, which is a variable of two dimensions or more, with what
    follows it. More than `_MOST_LAYERS` are gathered to so many, of equal size as far as that goes."""
    kernels = np.cumsum([rank > 1 for rank in ranks])
    layers = np.maximum(kernels - kernels[0], 0)
    count = int(layers[-1]) + 1
    return [int(layer) * _MOST_LAYERS // count if count > _MOST_LAYERS else int(layer) for layer in layers]
