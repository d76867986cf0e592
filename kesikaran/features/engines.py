"""The engines that run a backbone's forward pass from its SavedModel: TensorFlow, or OpenVINO on a CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kesikaran.config.schema import BackboneConfig, Engine
from kesikaran.core.errors import InputError


class FeatureVector(Protocol):
    """What gives the features of images: a `models.backbone.Backbone`, or an exported model. Attributes as of that."""

    @property
    def handle(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def folder(self) -> Path: ...
    @property
    def layer(self) -> Any: ...


def name(config: BackboneConfig) -> str | None:
    """The engine, its version and its precision, a part of the feature cache's key. None for TensorFlow.

    Raises:
        InputError: the engine is OpenVINO and it is not installed.
    """
    if config.engine is Engine.tensorflow:
        return None
    return f"openvino {_openvino().__version__.split('-')[0]}, {config.precision.name}"


def forward(backbone: FeatureVector, config: BackboneConfig, batch_size: int) -> Callable[[Any], np.ndarray]:
    """A function: images, a tensor of float32 [batch_size, size, size, 3] -> features float32 [batch_size, width].

    Raises:
        InputError: the engine is OpenVINO and it is not installed.
    """
    if config.engine is Engine.tensorflow:
        return lambda images: backbone.layer(images).numpy()
    openvino = _openvino()
    core = openvino.Core()
    # Without OpenVINO's converter, which contacts a telemetry service
    model = core.read_model(backbone.folder)
    model.reshape([batch_size, config.image_size, config.image_size, 3])
    precision = {"float32": "f32", "bfloat16": "bf16"}[config.precision.name]
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    # share_inputs saves a copy of each batch: a sixth of the time with bfloat16
    return lambda images: np.array(compiled(images.numpy(), share_inputs=True)[0], np.float32)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise InputError(
            "backbone.engine=openvino needs the package openvino: pip install 'kesikaran[openvino]', "
            "or backbone.engine=tensorflow"
        ) from None
    return openvino
