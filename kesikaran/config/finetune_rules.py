"""Which values of the group `finetune` are allowed, beyond their types."""

import math
from collections.abc import Iterator

from kesikaran.config.schema import FinetuneConfig, FinetuneOptimizer, Strategy, Trains

_MOST = 1_000_000  # epochs, or rows at once
Rule = tuple[str, object, bool, str]


def reader(finetune: FinetuneConfig, name: str) -> str | None:
    """Why a setting does nothing beside the others; None where it does something."""
    if name == "trains":
        return None
    if finetune.trains is Trains.none:
        return "it does nothing with finetune=none, which trains the head alone: give finetune=probe_then_all"
    if name == "blocks" and finetune.trains is not Trains.last_blocks:
        return f"it does nothing under finetune.trains={finetune.trains.name}, it is a setting of last_blocks"
    if name == "momentum" and finetune.optimizer is not FinetuneOptimizer.sgd:
        return f"it does nothing under finetune.optimizer={finetune.optimizer.name}, it is a setting of sgd"
    return None


def ranges(finetune: FinetuneConfig, strategy: Strategy) -> Iterator[Rule]:
    """(name of a setting, its value, whether it is allowed, what is allowed), setting by setting.

    strategy: of the imbalance.
    """
    for name, is_allowed, allowed in _ranges(finetune, strategy) if finetune.trains is not Trains.none else ():
        yield name, getattr(finetune, name), is_allowed, allowed


def _ranges(finetune: FinetuneConfig, strategy: Strategy) -> Iterator[tuple[str, bool, str]]:
    patience, clip_norm, ema = finetune.patience, finetune.clip_norm, finetune.ema
    yield "blocks", finetune.blocks >= 1, "at least 1"
    yield "epochs", 1 <= finetune.epochs <= _MOST, f"1 to {_MOST}"
    yield "batch_size", 1 <= finetune.batch_size <= _MOST, f"1 to {_MOST}"
    yield "patience", patience is None or patience >= 1, "null or at least 1"
    yield "lr", 0 < finetune.lr < math.inf, "above 0"
    yield "weight_decay", 0 <= finetune.weight_decay < math.inf, "0 or more"
    yield "layer_decay", 0 < finetune.layer_decay <= 1, "above 0, up to 1"
    yield "clip_norm", clip_norm is None or 0 < clip_norm < math.inf, "null or above 0"
    for name in ("momentum", "warmup", "dropout", "label_smoothing"):
        yield name, 0 <= getattr(finetune, name) < 1, "0 to below 1"
    is_focal = "0 with imbalance=focal: focal loss is defined for targets of 0 and 1"
    yield "label_smoothing", not finetune.label_smoothing or strategy is not Strategy.focal, is_focal
    yield "ema", ema is None or 0 < ema < 1, "null, or above 0 and below 1"
    both = "false beside finetune.update_statistics=true"
    yield "mixed_precision", not (finetune.mixed_precision and finetune.update_statistics), both
    yield "average_best", 1 <= finetune.average_best <= finetune.epochs, "1 to finetune.epochs"
