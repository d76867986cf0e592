"""How far a copy of a model is from what was logged, by hand."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import encoded, refused, store
from scipy.special import expit

from kesikaran.config.schema import PublishConfig
from kesikaran.metrics.conformal import Band
from kesikaran.publish import parity
from kesikaran.publish.parity import Parity

LOGGED = (5.0, -3.0, -0.2, 0.4, 2.0, -1.5, 0.1)  # log-odds; the first is of training
SIDES = ("train", "validation", "test", "validation", "test", "test", "validation")


class Said:
    """A predictor whose prepared image has as its one value which image it is."""

    facts = SimpleNamespace(threshold=0.0, band=Band(-1.0, 1.0, 0.05), max_megapixels=50.0)

    def __init__(self, names: list[str], images: Path) -> None:
        self.place = {(images / name).read_bytes(): number for number, name in enumerate(names)}

    def decode(self, contents: list[bytes]) -> list[Any]:
        return [np.full((1, 1, 3), self.place[content], np.float32) for content in contents]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def rows(images: Path) -> pd.DataFrame:
    """`predictions.parquet` of seven images."""
    names = [store(images, encoded(np.full((9, 9, 3), 20 * i, np.uint8), "PNG"), ".png") for i in range(len(LOGGED))]
    predicted = [int(value >= 0) for value in LOGGED]
    return pd.DataFrame({"object_id": names, "split": SIDES, "log_odds": LOGGED, "predicted": predicted})


def saying(*log_odds: float) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """A copy that says this of the images, by their numbers."""
    return lambda prepared: np.array([log_odds[int(image[0, 0, 0])] for image in prepared], np.float32)


def measure(rows: pd.DataFrame, images: Path, **formats: Any) -> list[Parity]:
    return parity.measure(Said(list(rows["object_id"]), images), rows, images, formats)  # type: ignore[arg-type]


def test_each_side_by_hand(rows: pd.DataFrame, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "_TOGETHER", 4)
    other = saying(math.nan, -3.0, 0.2, -0.4, 2.5, -0.9, 0.1)
    found = measure(rows, images, same=saying(*LOGGED), other=other)
    assert [(one.format, one.split, one.n) for one in found] == [
        ("same", "validation", 3), ("same", "test", 3), ("other", "validation", 3), ("other", "test", 3)
    ]  # fmt: skip
    assert [(one.changed_labels, one.changed_sure) for one in found] == [(0, 0), (0, 0), (1, 0), (1, 1)]
    differences = [one.largest_difference for one in found]
    of_test = max(expit(0.2) - expit(-0.2), expit(2.5) - expit(2.0), expit(-0.9) - expit(-1.5))
    assert differences == pytest.approx([0, 0, expit(0.4) - expit(-0.4), of_test], abs=1e-7)
    table = parity.table(found)
    assert list(table) == ["format", "split", "n", "changed_labels", "changed_sure", "largest_difference"]
    assert table.iloc[3].tolist() == list(vars(found[3]).values())


def test_without_a_band_all_is_sure_and_a_log_odds_of_the_threshold_is_label_1(
    rows: pd.DataFrame, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Said, "facts", SimpleNamespace(threshold=0.1, band=None, max_megapixels=50.0))
    logged = rows.assign(predicted=(rows["log_odds"] >= 0.1).astype(int))
    exact = float(np.float32(0.125))
    monkeypatch.setattr(Said.facts, "threshold", exact)
    found = measure(logged, images, other=saying(0, -3.0, -0.2, exact, 2.0, -1.5, exact))
    assert [(one.changed_labels, one.changed_sure) for one in found] == [(0, 0), (0, 0)]


def test_what_is_too_far_is_said_in_words() -> None:
    def of(changed: int, difference: float) -> list[Parity]:
        near = Parity("a", "validation", 100, 0, 0, 0.001)
        return [near, Parity("a", "test", 100, changed, 0, difference)]

    allowed = PublishConfig(0.02, 0.005, 0.01, 1.0)
    assert parity.drifted(of(1, 0.02), allowed) == ""
    changed = "2 of 200 labels are others, allowed 0.50% (publish.max_changed)"
    assert parity.drifted(of(2, 0.01), allowed) == changed
    differs = "a probability is another by 0.0301, allowed 0.02 (publish.max_difference)"
    assert parity.drifted(of(0, 0.0301), allowed) == differs
    assert parity.drifted(of(100, 0.01), allowed, is_int8=True) == ""
    differs = "a probability is another by 0.02, allowed 0.01 (publish.max_difference_int8)"
    assert parity.drifted(of(1, 0.02), allowed, is_int8=True) == differs
    wide = PublishConfig(1, 1)
    assert parity.drifted(of(0, math.nan), wide).startswith("a probability is another by nan, allowed 1 ")
    assert parity.drifted(of(0, math.nan)[::-1], wide), "whichever side comes first"
    assert parity.drifted([], PublishConfig(0, 0)) == ""


def test_an_image_that_is_gone_or_another_is_one_line(rows: pd.DataFrame, images: Path) -> None:
    name = rows["object_id"][1]
    predictor: Any = Said(list(rows["object_id"]), images)

    def look(*_: object) -> None:
        parity.measure(predictor, rows, images, {"same": saying(*LOGGED)})

    (images / name).write_bytes(encoded(np.zeros((9, 9, 3), np.uint8), "JPEG"))
    refused(f"image {name} cannot be used: ", look)
    (images / name).unlink()
    refused(f"image {name} is not in {images}; --images FOLDER names the folder of the run", look)
    rest = rows[rows["object_id"] != name]
    predictor.decode = lambda contents: ["it is too small"] * len(contents)
    refused("cannot be used: it is too small", parity.measure, predictor, rest, images, {})
