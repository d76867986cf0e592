"""The split is the article's, byte for byte, and does not depend on the order of the rows."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from kesikaran import split
from kesikaran.errors import InputError

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "label.csv.gz").rename(columns={"objectId": "object_id", "value": "label"})


@pytest.mark.parametrize("seed", [None, 0, 1], ids=["file order", "shuffled", "shuffled otherwise"])
def test_golden_split_byte_for_byte(labels: pd.DataFrame, seed: int | None) -> None:
    rows = labels if seed is None else labels.sample(frac=1, random_state=seed)
    result = split.sha1_low_byte(rows)
    result.columns = pd.Index(["objectId", "value", "type"])
    assert result.to_csv(index=False).encode() == gzip.decompress((GOLDEN / "split_label.csv.gz").read_bytes())


def test_counts_are_the_articles(labels: pd.DataFrame) -> None:
    table = split.counts(split.sha1_low_byte(labels))
    assert table.to_numpy().tolist() == [
        [6126, 13532, 19658],
        [747, 747, 1494],
        [744, 744, 1488],
        [7617, 15023, 22640],
    ]


def test_fingerprint_ignores_order_and_sees_a_changed_label(labels: pd.DataFrame) -> None:
    table = split.sha1_low_byte(labels)
    changed = table.copy()
    changed["label"] = changed["label"].where(changed.index != 0, 1 - changed["label"])
    assert split.fingerprint(table) == split.fingerprint(table.sample(frac=1, random_state=0))
    assert split.fingerprint(table) != split.fingerprint(changed)


def test_an_image_twice_is_caught(labels: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="two splits"):
        split.sha1_low_byte(pd.concat([labels, labels.head(1)]))


def test_a_split_without_a_class_is_refused(labels: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="split is left with"):
        split.sha1_low_byte(labels.head(20))
