"""Whether every copy of a model says what the run has logged: image by image, of validation and test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from kesikaran.config.schema import PublishConfig
from kesikaran.core import terminal
from kesikaran.core.errors import InputError
from kesikaran.data import image_file, object_store
from kesikaran.metrics import conformal
from kesikaran.publish.predictor import Predictor

Logits = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Prepared images, each float32 [size, size, 3] -> their logits, float32 [n]."""

SIDES = ("validation", "test")
_TOGETHER = 64  # images in memory at a time


@dataclass(frozen=True)
class Parity:
    """How far a copy of a model is from what was logged, on the n images of a side of the split. changed_labels: images
    with another label. changed_sure: images of which one of the two is sure and the other is not.
    largest_difference: of the probabilities."""

    format: str
    split: str
    n: int
    changed_labels: int
    changed_sure: int
    largest_difference: float


def measure(predictor: Predictor, rows: pd.DataFrame, images: Path, formats: Mapping[str, Logits]) -> list[Parity]:
    """Each format on each side.

    Args:
        rows: `predictions.parquet` of the run. images: the folder of its images.

    Raises:
        InputError: an image is missing or cannot be used any more.
    """
    judged = rows[rows["split"].isin(SIDES)].reset_index(drop=True)
    found: dict[str, list[np.ndarray]] = {name: [] for name in formats}
    with terminal.progress(None, "compare the copies", "image", len(judged)) as bar:
        for prepared in decoded(predictor, list(judged["object_id"]), images):
            for name, logits in formats.items():
                found[name].append(logits(prepared))
            bar.update(len(prepared))
    return [
        _parity(name, side, judged[judged["split"] == side], np.concatenate(parts), predictor)
        for name, parts in found.items()
        for side in SIDES
    ]


def decoded(predictor: Predictor, names: list[str], images: Path) -> Iterator[list[np.ndarray]]:
    """The images as the model takes them, some at a time.

    Raises:
        InputError: as `measure`.
    """
    there = object_store.find(object_store.objects(images), names)
    for start in range(0, len(names), _TOGETHER):
        some = names[start : start + _TOGETHER]
        if lacking := [name for name in some if name not in there]:
            raise InputError(f"image {lacking[0]} is not in {images}; --images FOLDER names the folder of the run")
        contents = [_content(name, there[name], predictor.facts.max_megapixels) for name in some]
        prepared = predictor.decode(contents)
        for name, image in zip(some, prepared, strict=True):
            if isinstance(image, str):
                raise InputError(f"image {name} cannot be used: {image}")
        yield [np.asarray(image) for image in prepared]


def _content(name: str, path: Path, max_megapixels: float) -> bytes:
    try:
        with image_file.opened(path, max_megapixels, object_store.sha1_of(name)) as image:
            return image.content
    except image_file.BadImage as reason:
        raise InputError(f"image {name} cannot be used: {reason}") from None


def _parity(name: str, side: str, rows: pd.DataFrame, logits: np.ndarray, predictor: Predictor) -> Parity:
    facts = predictor.facts
    own = logits[rows.index.to_numpy()].astype(np.float64)
    logged = rows["log_odds"].to_numpy(np.float64)
    changed = (own >= facts.threshold) != (rows["predicted"].to_numpy() == 1)
    sure = [conformal.is_sure(facts.band, log_odds) for log_odds in (own, logged)]
    difference = float(np.abs(expit(own) - expit(logged)).max(initial=0.0))
    return Parity(name, side, len(rows), int(changed.sum()), int((sure[0] != sure[1]).sum()), difference)


def table(found: list[Parity]) -> pd.DataFrame:
    """A row for each format and side, with the columns of `Parity`."""
    return pd.DataFrame([vars(one) for one in found])


def drifted(found: list[Parity], tolerance: PublishConfig, is_int8: bool = False) -> str:
    """Why a format is too far from what was logged, in words; empty where it is not. The shares are of the images of
    both sides."""
    most_difference, most_changed, of = tolerance.max_difference, tolerance.max_changed, ""
    if is_int8:
        most_difference, most_changed, of = tolerance.max_difference_int8, tolerance.max_changed_int8, "_int8"
    n, changed = sum(one.n for one in found), sum(one.changed_labels for one in found)
    difference = float(np.max([one.largest_difference for one in found], initial=0.0))
    if changed > most_changed * n:
        return f"{changed} of {n} labels are others, allowed {most_changed:.2%} (publish.max_changed{of})"
    if not difference <= most_difference:  # of a copy that gives no number it is none
        return f"a probability is another by {difference:.3g}, allowed {most_difference:g} (publish.max_difference{of})"
    return ""


def of_module(predictor: Predictor) -> Logits:
    """The logits of the SavedModel itself."""

    def logits(images: Sequence[np.ndarray]) -> np.ndarray:
        return predictor.judge(list(images)).log_odds

    return logits


def of_tflite(content: bytes) -> Logits:
    """The logits of a `.tflite` file."""

    def logits(images: Sequence[np.ndarray]) -> np.ndarray:
        from kesikaran.publish import tflite

        return tflite.logits(content, images)

    return logits
