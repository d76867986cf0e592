"""What runs a backbone's forward pass: TensorFlow, or OpenVINO on a CPU, from the same SavedModel."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kesikaran.config.schema import BackboneConfig, Engine
from kesikaran.core.errors import InputError
from kesikaran.models.backbone import Backbone


def name(config: BackboneConfig) -> str | None:
    """The engine and its precision as a part of the feature cache's key; None for TensorFlow.

    Raises:
        InputError: OpenVINO is asked for and not installed.
    """
    if config.engine is Engine.tensorflow:
        return None
    return f"openvino {_openvino().__version__.split('-')[0]}, {config.precision.name}"


def forward(backbone: Backbone, config: BackboneConfig, batch_size: int) -> Callable[[Any], np.ndarray]:
    """A function: images float32 [batch_size, size, size, 3], a tensor -> features float32 [batch_size, width]."""
    if config.engine is Engine.tensorflow:
        return lambda images: backbone.layer(images).numpy()
    openvino = _openvino()
    core = openvino.Core()
    # Read as it is: the package's own converter would ask a telemetry service for leave.
    model = core.read_model(backbone.folder)
    model.reshape([batch_size, config.image_size, config.image_size, 3])
    precision = {"float32": "f32", "bfloat16": "bf16"}[config.precision.name]
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    # Shared, so that a batch is not copied before every pass: of bfloat16 a sixth of the time
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
