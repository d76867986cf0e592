"""Tables of predictions from strangers: right in every value, or refused with the reason."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from kesikaran.core import errors
from kesikaran.data import object_store
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.metrics.predictions import LARGEST_LOGIT
from kesikaran.tracking import prediction_table

pytestmark = pytest.mark.tensorflow
N = 24
_ROWS = pd.DataFrame({
    "object_id": [f"{number:040x}.png" for number in range(N)],
    "split": ["train", "validation", "test"] * (N // 3),
    "label": [0, 1] * (N // 2),
    "logit": np.linspace(-4, 4, N).astype(np.float32),
})  # fmt: skip
ROWS = decisions.apply(Decision(2.0, 0.5, 0.1), _ROWS).assign(counts_fixed=True, group="g")
POOLED = ROWS.drop(columns="split").assign(fold=0, setting="lr=1")


EMPTY = pd.DataFrame(np.zeros((N, 100)), columns=[f"c{number}" for number in range(100)])


def written(folder: Path, rows: pd.DataFrame | pa.Table, **options: Any) -> Path:
    path = folder / "predictions.parquet"
    if isinstance(rows, pa.Table):
        parquet.write_table(rows, path, **options)
    else:
        rows.to_parquet(path, index=False, **options)
    return path


def test_tables_of_runs_come_back(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(prediction_table.read(written(tmp_path, ROWS)), ROWS, check_like=True)
    pd.testing.assert_frame_equal(
        prediction_table.read(written(tmp_path, POOLED), pooled=True), POOLED, check_like=True
    )
    old = ROWS[["object_id", "split", "label", "logit"]].assign(
        probability=(1 / (1 + np.exp(-ROWS["logit"]))).astype(np.float32), another=1
    )
    found = prediction_table.read(written(tmp_path, old))
    assert list(found) == ["object_id", "split", "label", "logit", "probability"]
    assert object_store.OBJECT_ID.pattern == prediction_table.IMAGE
    assert prediction_table._LARGEST_LOGIT <= LARGEST_LOGIT


def column(name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(**{name: value})


def one(name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The value in the last row alone."""
    return lambda rows: rows.assign(**{name: [*rows[name].iloc[:-1], value]})


def without(name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.drop(columns=name)


WRONG: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    **{f"no {name}": (without(name), f"it has no column {name}")
       for name in ("object_id", "split", "label", "logit", "probability")},
    "no row": (lambda rows: rows.head(0), "it has no row"),
    "probability -5": (one("probability", -5.0), "its column probability holds what is not between 0 and 1"),
    "probability nan": (one("probability", np.nan), "its column probability "),
    "another probability": (one("probability", 0.1), "1 of its probabilities are not those of their logits"),
    "lists as ids": (column("object_id", [[1]] * N), "its column object_id holds list<"),
    "numbers as ids": (column("object_id", range(N)), "its column object_id holds int64, not text"),
    "paths as ids": (one("object_id", "../../etc/passwd"), "1 of its object_ids are no names of images"),
    "an id with a line end": (one("object_id", "0" * 40 + "\n"), "1 of its object_ids are no names of images"),
    "an id twice": (one("object_id", ROWS["object_id"][0].upper().replace("PNG", "png")), "it names an image twice"),
    "an empty id": (one("object_id", None), "its column object_id has 1 empty cells"),
    "a split dev": (one("split", "dev"), "its split dev is none of train, validation, test"),
    "split by number": (column("split", 1), "its column split holds int64, not text"),
    "a label 2": (one("label", 2), "its column label holds other values than 0 and 1"),
    "labels of text": (column("label", "1"), "its column label holds large_string, not 0 or 1"),
    "labels of times": (column("label", pd.Timestamp("2020-01-01")), "its column label holds timestamp"),
    "labels beyond 64 bits": (column("label", float(2**63)), "its column label holds double, not 0 or 1"),
    "truth values": (column("label", True), "its column label holds bool, not 0 or 1"),
    "predicted 7": (one("predicted", 7), "its column predicted holds other values than 0 and 1"),
    "predicted at random": (column("predicted", [0, 1] * (N // 2)), "its predicted labels are of no threshold"),
    "an infinite logit": (one("logit", np.inf), "its column logit holds what is no finite number"),
    "a logit that is none": (one("logit", np.nan), "its column logit "),
    "infinite log-odds": (one("log_odds", -np.inf), "its column log_odds holds what is no finite number"),
    "a huge logit": (lambda rows: rows.astype({"logit": float}).assign(logit=1e300), "or one beyond 1e+40"),
    "complex": (column("logit", [{"re": 1.0}] * N), "its column logit holds struct<"),
    "a nested column": (column("more", [{"a": [1]}] * N), "its column more holds struct<"),
    "text as truth": (column("counts_fixed", "yes"), "its column counts_fixed holds large_string, not bool"),
    "a long group": (one("group", "g" * 1001), "its column group has a text of more than 1000 letters"),
    "many columns": (lambda rows: pd.concat([rows, EMPTY], axis=1), "at most 5,000,000 of 100 are read"),
    "twice a column": (
        lambda rows: pa.Table.from_pandas(rows).append_column("label", pa.array([0] * N)),
        "it has several columns label"),
    "packed times": (
        lambda rows: pa.Table.from_pandas(rows).set_column(2, "label", pa.array([0] * N, pa.duration("s"))),
        "its column label holds duration[s], not 0 or 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_refused(name: str, tmp_path: Path) -> None:
    change, says = WRONG[name]
    path = written(tmp_path, change(ROWS))
    with pytest.raises(ValueError, match=" ") as caught:
        prediction_table.read(path)
    assert says in str(caught.value)
    assert one_line(errors.first_line(caught.value))


def test_what_unpacks_to_gigabytes_is_refused_before(tmp_path: Path) -> None:
    long = pa.table({"object_id": pa.DictionaryArray.from_arrays(np.zeros(1000, np.int32), ["x" * 2**20])})
    many = pa.table({"label": pa.array(np.zeros(6_000_000, np.int8))})
    squeezed = pa.Table.from_pandas(ROWS)
    for rows, options, says in (
        (many, {}, "it has 6,000,000 rows of 1 columns"),
        (squeezed, {"compression": "zstd"}, "its compression is ZSTD, which is none of SNAPPY, UNCOMPRESSED"),
        (squeezed, {"compression": "gzip"}, "its compression is GZIP"),
        (long, {}, "it has no column label"),
        (squeezed.slice(0, 1).set_column(0, "object_id", long["object_id"].slice(0, 1)), {}, "its column object_id "),
    ):
        with pytest.raises(ValueError, match=" ") as caught:
            prediction_table.read(written(tmp_path, rows, **options))
        assert says in str(caught.value)


@pytest.mark.parametrize("name", ["label 5", "no fold"])
def test_a_wrong_table_of_folds_is_refused(name: str, tmp_path: Path) -> None:
    rows = {"label 5": POOLED.assign(label=5), "no fold": POOLED.drop(columns="fold")}[name]
    with pytest.raises(ValueError, match=r"it has no column fold|other values than 0 and 1"):
        prediction_table.read(written(tmp_path, rows), pooled=True)


@st.composite
def damage(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` damaged once to four times, half of the times in the last 4 kB, where the file says what it holds."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        least = max(0, len(content) - 4096) if draw(st.booleans()) else 0
        at = draw(st.integers(least, len(content)))
        match draw(st.integers(0, 4)):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + draw(st.integers(1, 30))]
            case 2:
                content[at:at] = content[at : at + draw(st.integers(1, 30))]
            case 3:
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case _:
                content[at : at + 4] = draw(st.binary(min_size=1, max_size=8))
    return bytes(content)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "predictions.parquet"


def whole() -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pandas(ROWS, preserve_index=False), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@settings(max_examples=1000, derandomize=True, deadline=None, database=None)
@given(content=damage(whole()))
def test_a_damaged_table_is_refused_or_right(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    began = time.monotonic()
    try:
        rows = prediction_table.read(place)
    except ValueError as refused:
        assert one_line(errors.first_line(refused))  # noqa: PT017
    else:
        prediction_table._check_values(rows, pooled=False)
    assert time.monotonic() - began < 20
