"""A split is counted, named by its fingerprint, compared with another, and refused where a class is missing."""

from pathlib import Path

import pandas as pd
import pytest

from kesikaran.config.schema import Balance, Rule, SplitConfig
from kesikaran.core.errors import InputError
from kesikaran.data import split, split_rules

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "label.csv.gz").rename(columns={"objectId": "object_id", "value": "label"})


def test_counts_are_the_articles(labels: pd.DataFrame) -> None:
    table = split.counts(split_rules.sha1_low_byte(labels, SplitConfig()))
    assert table.to_numpy().tolist() == [
        [6126, 13532, 19658],
        [747, 747, 1494],
        [744, 744, 1488],
        [7617, 15023, 22640],
    ]


def test_fingerprint_ignores_order_and_sees_a_changed_label(labels: pd.DataFrame) -> None:
    table = split_rules.sha1_low_byte(labels, SplitConfig())
    changed = table.copy()
    changed["label"] = changed["label"].where(changed.index != 0, 1 - changed["label"])
    assert split.fingerprint(table) == split.fingerprint(table.sample(frac=1, random_state=0))
    assert split.fingerprint(table) != split.fingerprint(changed)


def test_a_split_without_a_class_is_refused(labels: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="split is left with"):
        split.apply(SplitConfig(Rule.sha1_low_byte), labels.head(20))


def test_splits_of_different_data_sets_are_not_compared(labels: pd.DataFrame) -> None:
    old = split_rules.sha1_low_byte(labels, SplitConfig())
    with pytest.raises(InputError, match="share no image"):
        split.moves(old.assign(object_id=["x" + name for name in old["object_id"]]), old)


@pytest.mark.parametrize("setting", ["group", "stratify", "order"])
def test_a_column_that_is_not_there_is_named(setting: str) -> None:
    config = SplitConfig(Rule.sha1_low_byte, **{setting: "session"})  # type: ignore[arg-type]
    table = pd.DataFrame({"object_id": ["a" * 40], "label": [0], "\x1b[31m": [""]})
    with pytest.raises(InputError) as caught:
        split.apply(config, table)
    says = f"split.{setting}=session is no column of the label file; it has: label, '\\x1b[31m'"
    assert str(caught.value) == says
    split.need_columns(config, table.assign(session=0))


@pytest.mark.parametrize(
    ("config", "fixed"),
    [
        (SplitConfig(rule=Rule.sha1_low_byte), {"validation", "test"}),
        (SplitConfig(rule=Rule.sha1_low_byte, balance=Balance.none), set()),
        (SplitConfig(rule=Rule.sha1_low_byte, group="module"), set()),
        (SplitConfig(rule=Rule.stratified_random), {"train", "validation", "test"}),
        (SplitConfig(rule=Rule.stratified_random, stratify="module"), set()),
        (SplitConfig(rule=Rule.stratified_random, stratify="kind"), {"train", "validation", "test"}),
        (SplitConfig(rule=Rule.sha1_fold), set()),
        (SplitConfig(rule=Rule.blocks), set()),
        (SplitConfig(rule=Rule.from_file, file="split.csv"), set()),
    ],
)
def test_counts_of_labels_are_fixed_where_the_rule_fixes_them(config: SplitConfig, fixed: set[str]) -> None:
    """The column kind tells the label, the column module does not."""
    table = pd.DataFrame({"label": [0, 0, 1, 1], "kind": ["a", "b", "c", "c"], "module": ["m", "n", "m", "n"]})
    found = split.fixes_counts(config, table)
    assert {side for side, is_fixed in found.items() if is_fixed} == fixed
    assert list(found) == list(split_rules.SPLITS)
