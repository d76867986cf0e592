"""A table of predictions read back from a file that anyone may have written: right in every value, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

FILE_BYTES = 2**28
_ROWS = 5_000_000
_COLUMNS = 100
_BYTES = 2**30  # decoded
IMAGE = r"[0-9a-fA-F]{40}(\.[A-Za-z0-9]+)*"  # as data.object_store.OBJECT_ID
_TEXT_LETTERS = 1000
_SPLITS = ("train", "validation", "test")
_LARGEST_LOGIT = 1e40  # a float32 divided by the lowest temperature

# Column -> what it holds. A further column is not read.
_KINDS = {
    "object_id": "text",
    "split": "text",
    "label": "0 or 1",
    "logit": "number",
    "log_odds": "number",
    "probability": "number",
    "predicted": "0 or 1",
    "sure": "bool",
    "counts_fixed": "bool",
    "group": "text",
    "weight": "number",
    "fold": "integer",
    "setting": "text",
}
_NEEDED = ("object_id", "label", "logit", "probability")
_IS_KIND = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "0 or 1": pa.types.is_integer,
    "integer": pa.types.is_integer,
    "number": lambda kind: pa.types.is_float32(kind) or pa.types.is_float64(kind),
    "bool": pa.types.is_boolean,
}
# A file of another compression can unpack to any size; this one to 22 times its own at most.
_COMPRESSIONS = {"SNAPPY", "UNCOMPRESSED"}


def read(path: Path, pooled: bool = False) -> pd.DataFrame:
    """The table of a file.

    Args:
        pooled: a table of the folds of a cross-validation. It has a column fold in place of split, and may name an
            image several times.

    Returns:
        The columns object_id, split or fold, label, logit and probability, and those of log_odds, predicted,
        sure, counts_fixed, group, weight and setting that the file has.

    Raises:
        ValueError: the reason, in words, why the file is no such table.
    """
    try:
        with parquet.ParquetFile(path, pre_buffer=False, thrift_string_size_limit=2**24) as file:
            names = _checked(file, (*_NEEDED, "fold" if pooled else "split"))
            table = file.read(columns=names, use_threads=False, use_pandas_metadata=False)
        _check_texts(table)
        rows = table.to_pandas(ignore_metadata=True)[names]
    except (pa.ArrowException, OSError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"no Parquet file that can be read ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None
    _check_values(rows, pooled)
    return rows


def _checked(file: parquet.ParquetFile, needed: tuple[str, ...]) -> list[str]:
    """The names of the columns to read, from what the file says of itself."""
    about, schema = file.metadata, file.schema_arrow
    if about.num_rows > _ROWS or about.num_columns > _COLUMNS:
        raise ValueError(
            f"it has {about.num_rows:,} rows of {about.num_columns:,} columns, at most {_ROWS:,} of {_COLUMNS} are read"
        )
    if not about.num_rows:
        raise ValueError("it has no row")
    lacking = [name for name in needed if name not in schema.names]
    if lacking:
        raise ValueError(f"it has no column {lacking[0]}")
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise ValueError(f"it has several columns {name}")
    for field in schema:
        if field.type.num_fields:
            raise ValueError(f"its column {field.name} holds {field.type}, not single values")
        if field.name in _KINDS and not _IS_KIND[_KINDS[field.name]](field.type):
            raise ValueError(f"its column {field.name} holds {field.type}, not {_KINDS[field.name]}")
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    if other := {chunk.compression for chunk in chunks} - _COMPRESSIONS:
        raise ValueError(f"its compression is {other.pop()}, which is none of {', '.join(sorted(_COMPRESSIONS))}")
    if sum(max(0, chunk.total_uncompressed_size) for chunk in chunks) > _BYTES:
        raise ValueError(f"it holds more than {_BYTES:,} bytes")
    return [name for name in _KINDS if name in schema.names]


def _check_texts(table: pa.Table) -> None:
    """The texts in their packed form: one text of a megabyte, named by each row, would be terabytes unpacked."""
    for name in table.column_names:
        column = table[name]
        if column.null_count:
            raise ValueError(f"its column {name} has {column.null_count:,} empty cells")
        if _KINDS[name] == "text" and pc.max(pc.binary_length(column)).as_py() > _TEXT_LETTERS:
            raise ValueError(f"its column {name} has a text of more than {_TEXT_LETTERS} letters")


def _check_values(rows: pd.DataFrame, pooled: bool) -> None:
    wrong = ~rows["object_id"].str.fullmatch(IMAGE).astype(bool)
    if wrong.any():
        raise ValueError(f"{int(wrong.sum()):,} of its object_ids are no names of images, which are SHA-1s")
    if not pooled:
        if rows["object_id"].str.lower().duplicated().any():
            raise ValueError("it names an image twice")
        if other := sorted(set(rows["split"].unique()) - set(_SPLITS)):
            raise ValueError(f"its split {other[0]} is none of {', '.join(_SPLITS)}")
    for name in ("label", "predicted"):
        if name in rows and not rows[name].isin([0, 1]).all():
            raise ValueError(f"its column {name} holds other values than 0 and 1")
    for name in ("logit", "log_odds"):
        if name in rows and not (np.abs(rows[name].to_numpy(np.float64)) <= _LARGEST_LOGIT).all():
            raise ValueError(f"its column {name} holds what is no finite number, or one beyond {_LARGEST_LOGIT:g}")
    if "weight" in rows and not (rows["weight"].gt(0) & np.isfinite(rows["weight"])).all():
        raise ValueError("its column weight holds what is no number above 0")
    if not rows["probability"].between(0, 1).all():
        raise ValueError("its column probability holds what is not between 0 and 1")
    log_odds = rows["log_odds" if "log_odds" in rows else "logit"].to_numpy(np.float64)
    fits = np.abs(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))) - rows["probability"]) <= 1e-4
    if not fits.all():
        raise ValueError(f"{int((~fits).sum()):,} of its probabilities are not those of their logits")
    if not pooled and "predicted" in rows and "log_odds" in rows:
        ones = log_odds[rows["predicted"] == 1]
        zeros = log_odds[rows["predicted"] == 0]
        if len(ones) and len(zeros) and zeros.max() >= ones.min():
            raise ValueError("its predicted labels are of no threshold")
