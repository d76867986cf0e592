"""What a program has to know of a SavedModel that a run has logged, in a file beside the graph.

The file is `assets.extra/kesikaran.json` of the SavedModel: TensorFlow leaves that folder to others, and it goes along
wherever the SavedModel is copied.
"""

import dataclasses
import json
import math
import types
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from kesikaran.config.schema import BackboneConfig, DecisionRule, Engine
from kesikaran.core import errors
from kesikaran.core.errors import InputError
from kesikaran.metrics.conformal import Band

FILE = "assets.extra/kesikaran.json"
_MOST_BYTES = 100_000


@dataclass(frozen=True)
class Facts:
    """run_id: of the run that logged the model. data: `data.name` of the run. backbone: how an image is prepared; its
    handle has no password. digest: of the files of the backbone, the tuned one where it was fine-tuned. width: of its
    features. views: of an image, whose features' mean is judged. max_megapixels: a larger image is refused. rule: of
    the decision. threshold: the least log-odds of label 1. band: of the log-odds that the model is not sure of."""

    run_id: str
    data: str
    backbone: BackboneConfig
    digest: str
    width: int
    views: tuple[str, ...]
    max_megapixels: float
    rule: DecisionRule
    threshold: float
    band: Band | None

    def __post_init__(self) -> None:
        handle = errors.without_password(self.backbone.handle)
        if ":" not in handle:  # a folder: where it lies is nobody's business to whom the model is given
            handle = Path(handle).name
        # The exported graph is TensorFlow's, whatever engine computed the features of training.
        object.__setattr__(
            self, "backbone", dataclasses.replace(self.backbone, handle=handle, engine=Engine.tensorflow)
        )

    def write(self, saved_model: Path) -> None:
        """Write the facts into the folder of a SavedModel."""
        path = saved_model / FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(_plain(self), indent=1) + "\n")


def read(saved_model: Path) -> Facts:
    """The facts in the folder of a SavedModel.

    Raises:
        InputError: there are none, as in models of older versions, or they are damaged.
    """
    path = saved_model / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        return _facts(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"{saved_model} has no {FILE}: it is no model of kesikaran, or one of an older version; train again, which "
            "takes seconds where the features are in the cache"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise InputError(f"{path} is damaged: {errors.first_line(error)}; train again") from None


def _plain(value: Any) -> Any:
    """As JSON has it: a name for a choice, null for a number without end."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float) and math.isinf(value):
        return None
    return list(value) if isinstance(value, tuple) else value


def _facts(found: dict[str, Any]) -> Facts:
    backbone, views = found["backbone"], _typed(found["views"], list[str])
    band = None if found["band"] is None else _typed(found["band"], dict)
    if not views:
        raise ValueError("it has no views")
    fields = dataclasses.fields(BackboneConfig)
    config = BackboneConfig(**{field.name: _typed(backbone[field.name], field.type) for field in fields})
    return Facts(
        run_id=_typed(found["run_id"], str),
        data=_typed(found["data"], str),
        backbone=config,
        digest=_typed(found["digest"], str),
        width=_typed(found["width"], int),
        views=tuple(views),
        max_megapixels=_typed(found["max_megapixels"], float),
        rule=_typed(found["rule"], DecisionRule),
        threshold=_typed(found["threshold"], float),
        band=band and Band(_end(band["low"], -math.inf), _end(band["high"], math.inf), _typed(band["error"], float)),
    )


def _end(value: float | None, without_end: float) -> float:
    return without_end if value is None else float(_typed(value, float))


def _typed(value: Any, kind: Any) -> Any:
    """`value`, which has to be of this type, as that type has it.

    Raises:
        ValueError: it is of another.
    """
    if isinstance(kind, types.UnionType):
        return None if value is None else _typed(value, get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[value]
    if get_args(kind):
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is no list")
        return [_typed(one, get_args(kind)[0]) for one in value]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    if value != value:
        raise ValueError("it has a number that is nan")
    return value
