"""The rules of a split: the article's byte for byte, every image on exactly one side, in any order of the rows."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kesikaran.config.schema import Balance, SplitConfig
from kesikaran.core.errors import InputError
from kesikaran.data import split, split_rules

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "label.csv.gz").rename(columns={"objectId": "object_id", "value": "label"})


@pytest.mark.parametrize("seed", [None, 0, 1], ids=["file order", "shuffled", "shuffled otherwise"])
def test_golden_split_byte_for_byte(labels: pd.DataFrame, seed: int | None) -> None:
    rows = labels if seed is None else labels.sample(frac=1, random_state=seed)
    result = split_rules.sha1_low_byte(rows, SplitConfig())
    result.columns = pd.Index(["objectId", "value", "type"])
    assert result.to_csv(index=False).encode() == gzip.decompress((GOLDEN / "split_label.csv.gz").read_bytes())


def test_an_image_twice_is_caught(labels: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="two splits"):
        split_rules.sha1_low_byte(pd.concat([labels, labels.head(1)]), SplitConfig())


def test_an_image_lost_or_exchanged_is_caught(labels: pd.DataFrame) -> None:
    ordered = labels.sort_values("object_id", ignore_index=True)
    other = ordered.assign(object_id=["0" * 40, *ordered["object_id"][1:]])
    for after in (ordered.iloc[1:], other):
        with pytest.raises(AssertionError, match=r"the split holds \d+ images of 22640"):
            split_rules._partition(labels, after, np.full(len(after), "train", dtype=object))


def test_an_earlier_split_may_name_its_images_in_upper_case(labels: pd.DataFrame) -> None:
    new = split_rules.sha1_low_byte(labels, SplitConfig())
    old = new.assign(object_id=new["object_id"].str.upper(), split=new["split"].to_numpy()[::-1])
    assert split.moves(old, new)["absent"].sum() == 0
    assert split_rules.from_table(labels, old)["split"].tolist() == old["split"].tolist()
    assert split_rules.sha1_low_byte(labels, SplitConfig(), pinned=old)["split"].tolist() == old["split"].tolist()


@pytest.mark.parametrize("rule", ["low byte", "pinned", "low byte in groups", "fold in groups", "blocks", "random"])
def test_capitals_in_names_decide_nothing(labels: pd.DataFrame, rule: str) -> None:
    random = np.random.default_rng(0)
    lower = labels.head(2000).assign(cluster=random.integers(0, 900, 2000).astype(str), place=random.permutation(2000))
    capitals = random.random(2000) < 0.5
    mixed = lower.assign(object_id=lower["object_id"].str.upper().where(capitals, lower["object_id"]))
    old = split_rules.sha1_low_byte(lower.head(1500), SplitConfig())
    split_by = {
        "low byte": lambda table: split_rules.sha1_low_byte(table, SplitConfig()),
        "pinned": lambda table: split_rules.sha1_low_byte(table, SplitConfig(), old),
        "low byte in groups": lambda table: split_rules.sha1_low_byte(table, SplitConfig(group="cluster")),
        "fold in groups": lambda table: split_rules.sha1_fold(table, 1, 5, "cluster"),
        "blocks": lambda table: split_rules.blocks(table, 1, 5, 3, "place"),
        "random": lambda table: split_rules.stratified_random(table, 0.2, 0.2),
    }[rule]
    expected, found = split_by(lower), split_by(mixed)
    assert (found["object_id"] != expected["object_id"]).mean() > 0.4
    assert found["object_id"].str.lower().tolist() == expected["object_id"].str.lower().tolist()
    assert found["split"].tolist() == expected["split"].tolist()
    assert split.fingerprint(found) == split.fingerprint(expected)


# ---- folds


@pytest.mark.parametrize("folds", [2, 3, 5, 10, 64])
def test_the_test_windows_of_all_folds_cover_every_image_once(labels: pd.DataFrame, folds: int) -> None:
    tested: list[str] = []
    for fold in range(folds):
        table = split_rules.sha1_fold(labels, fold, folds)
        sizes = table["split"].value_counts()
        assert sizes["test"] == pytest.approx(len(labels) / folds, rel=0.35)
        assert sizes["train"] >= sizes["validation"] > 0
        tested += list(table["object_id"][table["split"] == "test"])
    assert sorted(tested) == sorted(labels["object_id"])


def test_validation_is_the_window_behind_test(labels: pd.DataFrame) -> None:
    table = split_rules.sha1_fold(labels, 9, 10)
    byte = table["object_id"].str[38:40].map(lambda digits: int(digits, 16))
    assert set(byte[table["split"] == "test"]) == set(range(230, 256))
    assert set(byte[table["split"] == "validation"]) == set(range(23))  # round the end; (256 - 26) // 10 bytes


# ---- groups


@pytest.mark.parametrize("blank", ["", " "])
def test_blanks_of_a_group_column_are_no_group(blank: str, labels: pd.DataFrame) -> None:
    table = labels.assign(session=blank)
    grouped = split_rules.sha1_low_byte(table, SplitConfig(group="session"))
    assert split.fingerprint(grouped) == split.fingerprint(split_rules.sha1_low_byte(labels, SplitConfig()))
    folded = split_rules.sha1_fold(table, 1, 5, group="session")
    assert split.fingerprint(folded) == split.fingerprint(split_rules.sha1_fold(labels, 1, 5))


def test_a_group_column_may_hold_numbers_and_some_blanks() -> None:
    ends = ["10", "90", "20", "a0", "b0"]
    table = pd.DataFrame({"object_id": [f"{i:038d}{end}" for i, end in enumerate(ends)], "label": [0, 1, 0, 1, 1]})
    side = split_rules.sha1_low_byte(table, SplitConfig(balance=Balance.none, group="label"))["split"].tolist()
    assert side == ["test", "train", "test", "train", "train"]
    table["camera"] = ["1", "1", " ", "", "2"]
    side = split_rules.sha1_low_byte(table, SplitConfig(balance=Balance.none, group="camera"))["split"].tolist()
    assert side == ["test", "test", "validation", "train", "train"]


def test_groups_of_one_agree_with_the_article_exactly(labels: pd.DataFrame) -> None:
    alone = labels.assign(cluster=[f"c{i % 7}-{i}" for i in range(len(labels))])
    expected = split_rules.sha1_low_byte(labels, SplitConfig())
    found = split_rules.sha1_low_byte(alone.sample(frac=1, random_state=0), SplitConfig(group="cluster"))
    pd.testing.assert_series_equal(found["split"], expected["split"])
    pd.testing.assert_series_equal(
        split_rules.sha1_fold(alone, 3, 5, "cluster")["split"], split_rules.sha1_fold(labels, 3, 5)["split"]
    )


@pytest.mark.parametrize("balance", Balance)
def test_a_group_stays_whole_on_the_side_of_its_smallest_id(labels: pd.DataFrame, balance: Balance) -> None:
    random = np.random.default_rng(0)
    grouped = labels.assign(cluster=random.integers(0, 9000, len(labels)).astype(str))
    table = split_rules.sha1_low_byte(grouped, SplitConfig(balance=balance, group="cluster"))
    assert (table.groupby("cluster")["split"].nunique() == 1).all()
    leader = table.loc[table.groupby("cluster")["object_id"].idxmin()]
    byte = leader["object_id"].str[38:40].map(lambda digits: int(digits, 16))
    if balance is Balance.none:
        assert set(leader["split"][byte < 25]) == {"test"}
    assert set(leader["split"][byte >= 50]) == {"train"}
    if balance is Balance.minority:
        pure = grouped.groupby("cluster")["value" if "value" in grouped else "label"].nunique() == 1
        assert pure.any()
        counts = split.counts(table).to_dict("index")
        unbalanced = split_rules.sha1_low_byte(grouped, SplitConfig(balance=Balance.none, group="cluster"))
        before = split.counts(unbalanced).to_dict("index")
        for name in ("validation", "test"):
            assert abs(counts[name][1] - counts[name][0]) < abs(before[name][1] - before[name][0])


def test_balancing_moves_whole_groups_of_the_commoner_label_alone() -> None:
    """Ids end in 00: all are in the test window. Three ones share a group, of which the cap leaves room for two."""
    ids = [f"{i:038x}00" for i in range(1, 9)]
    table = pd.DataFrame({"object_id": ids, "label": [0, 0, 1, 1, 1, 1, 1, 0], "g": list("abcccdef")})
    found = split_rules.sha1_low_byte(table, SplitConfig(group="g"))
    # Three zeros, so three ones: c fits whole, d and e go.
    assert found["split"].tolist() == ["test"] * 5 + ["train", "train", "test"]
    found = split_rules.sha1_low_byte(table.iloc[:-1], SplitConfig(group="g"))
    # Two zeros, so two ones: c does not fit and is passed over, d and e do.
    assert found["split"].tolist() == ["test"] * 2 + ["train"] * 3 + ["test"] * 2


# ---- growth


@pytest.fixture(scope="module")
def grown(labels: pd.DataFrame) -> pd.DataFrame:
    """A tenth more images, with more of the rarer label among them: the cap of the balancing rises."""
    random = np.random.default_rng(1)
    ids = [random.bytes(20).hex() + ".jpg" for _ in range(2264)]
    more = pd.DataFrame({"object_id": ids, "label": (random.random(2264) < 0.4).astype(int)})
    return pd.concat([labels, more], ignore_index=True)


def test_growth_pulls_trained_images_into_test_and_pins_prevent_it(labels: pd.DataFrame, grown: pd.DataFrame) -> None:
    old = split_rules.sha1_low_byte(labels, SplitConfig())
    free = split.moves(old, split_rules.sha1_low_byte(grown, SplitConfig())).to_dict("index")
    assert free["train"]["test"] > 50, "the danger is real"
    pinned = split_rules.sha1_low_byte(grown, SplitConfig(), pinned=old)
    kept = split.moves(old, pinned).to_dict("index")
    for name in split_rules.SPLITS:
        assert kept[name][name] == sum(free[name].values()) == (old["split"] == name).sum()
    assert sum(kept["absent"].values()) == 2264
    assert kept["absent"]["test"] > 0
    counts = split.counts(pinned).to_dict("index")
    for name in ("validation", "test"):
        assert counts[name][0] == counts[name][1]


def test_pinning_a_split_to_itself_changes_nothing(labels: pd.DataFrame) -> None:
    old = split_rules.sha1_low_byte(labels, SplitConfig())
    assert split.fingerprint(split_rules.sha1_low_byte(labels, SplitConfig(), pinned=old)) == split.fingerprint(old)


# ---- the other rules


def test_a_random_split_has_exact_sizes_and_proportions(labels: pd.DataFrame) -> None:
    table = split_rules.stratified_random(labels, 5660, 0.1)
    sizes = table["split"].value_counts()
    assert (sizes["test"], sizes["validation"]) == (5660, 2264)
    for name in split_rules.SPLITS:
        assert table["label"][table["split"] == name].mean() == pytest.approx(15023 / 22640, abs=1e-3)
    shuffled = labels.sample(frac=1, random_state=0)
    assert split.fingerprint(split_rules.stratified_random(shuffled, 5660, 0.1)) == split.fingerprint(table)
    assert split.fingerprint(split_rules.stratified_random(labels, 5660, 0.1, seed=1)) != split.fingerprint(table)


def test_a_random_split_may_be_stratified_by_any_column(labels: pd.DataFrame) -> None:
    kinds = labels.assign(kind=np.where(np.arange(len(labels)) % 10 == 0, "rare", "common"))
    table = split_rules.stratified_random(kinds, 0.25, 0.25, "kind")
    assert table["kind"][table["split"] == "test"].eq("rare").mean() == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("sizes", [(22640, 0.1), (22639, 1), (0.6, 0.6)])
def test_a_random_split_that_cannot_be_drawn(labels: pd.DataFrame, sizes: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"split.\w+_size=\d+ images cannot be drawn from"):
        split_rules.stratified_random(labels, *sizes)


@pytest.mark.parametrize("folds", [2, 5])
def test_blocks_keep_neighbours_together_and_cover_every_image_once(labels: pd.DataFrame, folds: int) -> None:
    lined = labels.assign(place=np.random.default_rng(0).permutation(len(labels)).astype(str))
    tested: list[str] = []
    for fold in range(folds):
        table = split_rules.blocks(lined, fold, folds, 100, "place")
        block = table["place"].astype(int) // 100
        assert (table.groupby(block)["split"].nunique() == 1).all()
        assert set(table["split"]) == set(split_rules.SPLITS)
        tested += list(table["object_id"][table["split"] == "test"])
    assert sorted(tested) == sorted(labels["object_id"])


def test_blocks_that_are_too_few_or_have_no_order(labels: pd.DataFrame) -> None:
    lined = labels.assign(row=range(len(labels)), word="x")
    with pytest.raises(InputError, match=r"makes 3 blocks of 22640 images, and 5 folds need at least 15"):
        split_rules.blocks(lined, 0, 5, 10_000)
    with pytest.raises(InputError, match=r"split.order=word must hold a number for every image"):
        split_rules.blocks(lined, 0, 5, 100, "word")


def test_a_split_from_a_file_is_taken_as_it_is(labels: pd.DataFrame) -> None:
    given = split_rules.sha1_low_byte(labels, SplitConfig())
    part = labels.sample(1000, random_state=0)
    found = split_rules.from_table(part, given.sample(frac=1, random_state=1))
    sides = given.set_index("object_id")["split"]
    assert found["split"].tolist() == sides[found["object_id"]].tolist()
    with pytest.raises(InputError, match="does not know 21640 of 22640 images"):
        split_rules.from_table(labels, given[given["object_id"].isin(part["object_id"])])
    flipped = given.assign(label=1 - given["label"])
    with pytest.raises(InputError, match="has another label for 1000 of 1000 images"):
        split_rules.from_table(part, flipped)
