"""Any number of image files judged by a model, in a memory that does not grow with their number.

The features go into the feature cache, under the key that a training with the same backbone uses. So what was computed
before, in a training or in a call that was stopped, is read and not computed again.
"""

import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kesikaran.core import parallel
from kesikaran.data import image_file
from kesikaran.data.image_file import BadImage, Reason
from kesikaran.data.image_paths import Named
from kesikaran.features import extract, forward_pass
from kesikaran.features.shards import Shards
from kesikaran.publish.predictor import Predictor

_TOGETHER = 4096  # files whose features are in memory at a time; of 1,280 numbers each they take 21 MB a view
_AHEAD = 64


def predict(predictor: Predictor, files: Iterable[Named], bar: Any) -> Generator[pd.DataFrame, None, None]:
    """What the model makes of image files, some thousands of rows at a time, in the order of `files`.

    Columns: path (str); sha1 (str), 40 hex digits, of the bytes; probability and log_odds of label 1 (float32); label
    (0 or 1, Int64) and sure (boolean) by the run's decision; refused (str), why a file has no prediction. In a row with
    a reason the others are missing, and sha1 is empty where the file could not be read.

    Args:
        bar: is told of each file.

    Raises:
        InputError: the cache is not writable or full, or the model is damaged.
    """
    facts = predictor.facts
    vector = _Vector(predictor)
    with extract.opened(vector, facts.backbone, facts.views) as stores:
        for some in _batched(files):
            # The shards are opened anew each time, so that the pages of those that were read before are given back.
            yield _rows(predictor, vector, some, stores, bar)


def _batched(files: Iterable[Named]) -> Iterator[list[Named]]:
    rest = iter(files)
    while some := list(itertools.islice(rest, _TOGETHER)):
        yield some


@dataclass(frozen=True)
class _Vector:
    """The backbone of an exported model, as the feature pass takes it."""

    predictor: Predictor

    @property
    def handle(self) -> str:
        return self.predictor.facts.backbone.handle

    @property
    def digest(self) -> str:
        return self.predictor.facts.digest

    @property
    def width(self) -> int:
        return self.predictor.facts.width

    @property
    def folder(self) -> Path:
        return self.predictor.saved_model

    @property
    def layer(self) -> Any:
        return self.predictor.module.features


def _rows(predictor: Predictor, vector: _Vector, files: list[Named], stores: dict[str, Path], bar: Any) -> pd.DataFrame:
    facts = predictor.facts
    named = _sha1s(files, facts.max_megapixels)
    known = {view: Shards(store) for view, store in stores.items()}
    # Of several files with the same bytes one is read.
    every = {sha1: path for (path, _), (sha1, refused) in zip(files, named, strict=True) if not refused}
    todo = {sha1: path for sha1, path in every.items() if forward_pass.lacks(known, sha1)}
    bar.update(len(files) - len(todo))
    _, bad = forward_pass.compute(todo, vector, facts.backbone, facts.max_megapixels, known, {}, bar)
    rows = pd.DataFrame(
        {
            # As objects, since the name of a file need not be text, which pandas would make of it.
            "path": pd.Series([str(path) for path, _ in files], dtype=object),
            "sha1": [sha1 for sha1, _ in named],
            "refused": [refused or _said(bad.get(sha1, "")) for sha1, refused in named],
        }
    )
    good = rows["refused"] == ""
    judged = predictor.judge_features(_means(known, list(rows.loc[good, "sha1"]), facts.width))
    for name, kind in {"probability": "float32", "log_odds": "float32", "label": "Int64", "sure": "boolean"}.items():
        rows[name] = pd.Series(getattr(judged, name), rows.index[good], dtype=kind).reindex(rows.index)
    return rows[["path", "sha1", "probability", "log_odds", "label", "sure", "refused"]]


def _sha1s(files: list[Named], max_megapixels: float) -> list[tuple[str, str]]:
    """Of each file: (the SHA-1 of its bytes, ""), or ("", why it is not read)."""

    def one(file: Named) -> tuple[str, str]:
        path, refused = file
        if refused:
            return "", refused
        try:
            return image_file.sha1_of_file(path, max_megapixels), ""
        except BadImage as reason:
            return "", str(reason)

    return [found for _, found in parallel.ordered(one, files, _AHEAD)]


def _said(reason: str) -> str:
    """The files here are not called by their SHA-1, so that one with another was changed since it was taken."""
    return f"{Reason.unreadable}: it changed while it was read" if reason == Reason.other_content else reason


def _means(known: dict[str, Shards], sha1s: list[str], width: int) -> np.ndarray:
    """The mean over the views of the features of these images, float32 [n, width]."""
    keys = [bytes.fromhex(sha1) for sha1 in sha1s]
    total = np.zeros((len(keys), width), np.float32)
    of_view = np.empty_like(total)
    for shards in known.values():
        shards.gather(keys, of_view)
        total += of_view
    return total / len(known) if len(known) > 1 else total
