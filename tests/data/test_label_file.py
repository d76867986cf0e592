"""A label file from a stranger ends in a table or in one clear line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import mutated, one_line, refused

from kesikaran.config.schema import SplitConfig
from kesikaran.core.errors import InputError
from kesikaran.data import label_file, object_store, split, split_rules

A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("objectId,value\n", "no rows"),
        ("objectId,label\nx,1\n", "no column value"),
        (f"objectId,value\n{A}.jpg,yes\n", "line 2: value 'yes' is not a label"),
        (f"objectId,value\n{A}.jpg,1\n{B}.jpg\n", "line 3: value '' is not a label"),
        ("objectId,value\ncat.jpg,1\n", "line 2: objectId 'cat.jpg' is not a SHA-1"),
        (f"objectId,value\n../{A}.jpg,1\n", "is not a SHA-1"),
        (f"objectId,value\n{A}.jpg,1\n{B}.jpg,1\n", "every row has label 1"),
        (f"objectId,value\n{A}.jpg,1\n{B}.jpg,1\n{A}.png,0\n", "label 1 on line 2 and label 0 on line 4"),
        (f'objectId,value\n{A}.jpg,1\n"{B}.jpg\n",0\n', "line 3: objectId '\\w+.jpg..' is not a SHA-1"),
        ("objectId,va\x1b\nlue\n", "no column value"),
        ("objectId,value\n\xff\xfe", "not a readable UTF-8 CSV"),
    ],
)
def test_bad_label_files_are_one_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "label.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=says) as caught:
        label_file.read_labels(path)
    assert one_line(str(caught.value))


def test_a_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label file .* is a folder; give the CSV in it, as .*label\.csv"):
        label_file.read_labels(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        label_file.read_labels(tmp_path / "label.csv")


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeffobjectId,value\n{A}.jpg,1\n{B}.jpg,0\n",
        f"objectId,value\r\n{A}.jpg,1\r\n{B}.jpg,0\r\n",
        f'"objectId","value"\n"{A}.jpg","1"\n"{B}.jpg","0"\n',
        f"value,objectId\n1,{A}.jpg\n0,{B}.jpg",
        f"objectId,value\n{A}.jpg, 1 \n{B}.jpg,0\n",
    ],
    ids=["BOM", "CRLF", "quoted", "other order", "blanks"],
)
def test_label_files_as_other_programs_write_them(tmp_path: Path, content: str) -> None:
    (tmp_path / "label.csv").write_bytes(content.encode())
    table = label_file.read_labels(tmp_path / "label.csv").table
    assert table[["object_id", "label"]].to_dict("list") == {"object_id": [f"{A}.jpg", f"{B}.jpg"], "label": [1, 0]}


def test_upper_case_names_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "label.csv").write_text(f"objectId,value\n{A.upper()}.JPG,1\n{A}.jpg,1\n{B}.jpg,0\n")
    labels = label_file.read_labels(tmp_path / "label.csv")
    assert labels.repeated == 1
    assert sorted(labels.table["object_id"].map(object_store.sha1_of)) == [A, B]


def test_capitals_in_names_change_neither_the_order_nor_the_digest(tmp_path: Path) -> None:
    (tmp_path / "label.csv").write_text(f"objectId,value\n{B.upper()}.JPG,1\n{A}.jpg,0\n")
    table = label_file.read_labels(tmp_path / "label.csv").table
    assert table["object_id"].tolist() == [f"{A}.jpg", f"{B.upper()}.JPG"]
    assert label_file.data_digest(table) == label_file.data_digest(table.assign(object_id=[f"{A}.jpg", f"{B}.jpg"]))


NAMES = [np.random.default_rng(i).bytes(20).hex() for i in range(12)]
WHOLE = "objectId,value,note\n" + "".join(f"{n}.jpg,{i % 2},{'note ' * 20}{i}\n" for i, n in enumerate(NAMES))
SPLIT = "objectId,value,type,note\n" + "".join(
    f"{n}.jpg,{i % 2},{split_rules.SPLITS[i // 4]},{'note ' * 20}\n" for i, n in enumerate(NAMES)
)


def test_a_thousand_mutated_files_end_in_a_table_or_in_one_line(tmp_path: Path) -> None:
    path, tables = tmp_path / "label.csv", 0
    messages: list[str] = []
    for content in mutated(WHOLE, 1000):
        path.write_bytes(content)
        try:
            table = label_file.read_labels(path).table
        except InputError as error:
            messages.append(str(error))
        else:
            tables += 1
            assert set(table["label"]) == {0, 1}
            assert table["object_id"].str.fullmatch(r"[0-9a-fA-F]{40}(\.[A-Za-z0-9]+)*").all()
            assert table["object_id"].map(object_store.sha1_of).is_unique
    assert all(map(one_line, messages)), messages
    assert min(tables, len(messages)) > 100, "both ends are reached"


@pytest.fixture(scope="module")
def mutated_splits(tmp_path_factory: pytest.TempPathFactory) -> list[pd.DataFrame | InputError]:
    """What a thousand mutated splits are read as."""
    path = tmp_path_factory.mktemp("mutated") / "split.csv"
    found: list[pd.DataFrame | InputError] = []
    for content in mutated(SPLIT, 1000):
        path.write_bytes(content)
        try:
            found.append(label_file.read_split(path))
        except InputError as error:
            found.append(error)
    return found


@pytest.mark.parametrize("use", ["split=from_file", "--against", "--pin"])
def test_a_thousand_mutated_splits_end_in_a_split_or_in_one_line(
    use: str, mutated_splits: list[pd.DataFrame | InputError], tmp_path: Path
) -> None:
    (tmp_path / "label.csv").write_text(WHOLE)
    table = label_file.read_labels(tmp_path / "label.csv").table
    now = split_rules.sha1_low_byte(table, SplitConfig())
    done = 0
    messages: list[str] = []
    for given in mutated_splits:
        try:
            if isinstance(given, InputError):
                raise given
            if use == "split=from_file":
                assert set(split_rules.from_table(table, given)["object_id"]) == set(table["object_id"])
            elif use == "--against":
                assert split.moves(given, now).to_numpy().sum() >= len(table)
            else:
                assert len(split_rules.sha1_low_byte(table, SplitConfig(), pinned=given)) == len(table)
            done += 1
        except InputError as error:
            messages.append(str(error))
    assert len(mutated_splits) == 1000
    assert all(map(one_line, messages)), messages
    assert min(done, len(messages)) > 100, "both ends are reached"


@pytest.mark.parametrize("first", ["note,", "note,more,"])
def test_fields_are_not_shifted_where_rows_are_longer_than_the_header(first: str, tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value\n{first}{A}.jpg,1\n{first}{B}.jpg,0\n")
    with pytest.raises(InputError, match=r"line 2 has \d fields, more than its header, which has 2"):
        label_file.read_labels(path)


def test_repeated_rows_count_once_and_the_order_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value\n{B}.jpg,1\n{A}.jpg,0\n{B}.jpg,1\n")
    labels = label_file.read_labels(path)
    assert labels.repeated == 1
    assert labels.table.to_dict("list") == {"object_id": [f"{A}.jpg", f"{B}.jpg"], "label": [0, 1], "row": [1, 0]}


def test_further_columns_are_kept_as_text(tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f",objectId,session,value,\n0,{B}.jpg,007,1\n1,{A}.jpg,,0,x\n")
    table = label_file.read_labels(path).table
    assert table.to_dict("list") == {
        "object_id": [f"{A}.jpg", f"{B}.jpg"], "label": [0, 1], "Unnamed: 0": ["1", "0"], "session": ["", "007"],
        "Unnamed: 4": ["x", ""], "row": [1, 0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cells", "says"),
    [
        ("sure", ["1", "0.5"], None),
        ("unsure", ["1", "0.5"], "data.weight=unsure: the label file has no such column; it has sure"),
        ("label", ["1", "0.5"], "data.weight=label: the label file has no such column"),
        ("sure", ["1", "0"], f"data.weight=sure: '0' of {B}.jpg is no weight; a number above 0 is allowed"),
        ("sure", ["1", "inf"], f"'inf' of {B}.jpg is no weight"),
        ("sure", ["", "1"], f"'' of {A}.jpg is no weight"),
        ("sure", ["much", "1"], f"'much' of {A}.jpg is no weight"),
    ],
)
def test_weights(column: str, cells: list[str], says: str | None, tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value,sure\n{A}.jpg,0,{cells[0]}\n{B}.jpg,1,{cells[1]}\n")
    table = label_file.read_labels(path).table
    if says is None:
        assert label_file.weights(table, column).tolist() == [1.0, 0.5]
        return
    with pytest.raises(InputError) as caught:
        label_file.weights(table, column)
    assert says in str(caught.value)
    assert one_line(str(caught.value))


@pytest.mark.parametrize("name", ["row", "label", "split", "object_id"])
def test_a_column_whose_name_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    """It was dropped without a word, and split.order=row then meant another thing."""
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value,{name}\n{B}.jpg,1,9\n{A}.jpg,0,8\n")
    refused(
        f"has a column {name}, a name that is used here for something else; rename it", label_file.read_labels, path
    )


@pytest.mark.parametrize("name", ["objectId", "value", "session", " value"])
def test_a_column_that_is_there_twice_is_refused_with_both_places(name: str, tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value,session,{name}\n{B}.jpg,1,x,0\n{A}.jpg,0,x,1\n")
    earlier = ["objectId", "value", "session"].index(name.strip()) + 1
    says = f"has the column {name.strip()} twice, as columns {earlier} and 4; rename or remove one"
    refused(says, label_file.read_labels, path)


@pytest.mark.parametrize("end", ["\n", "\n\n\n", "   \n", "\r\n\t\r\n", ",,\n", " , \n\n,", '"",""\n'])
def test_blank_rows_at_the_end_are_passed_over(end: str, tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value,note\n{A}.jpg,1,x\n{B}.jpg,0,x\n{end}", newline="")
    labels = label_file.read_labels(path)
    assert labels.table["object_id"].tolist() == [f"{A}.jpg", f"{B}.jpg"]
    assert labels.repeated == 0


@pytest.mark.parametrize("blank", ["\n", " \t\n", ",\n"])
@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_blank_row_elsewhere_is_named_by_its_line(line: int, blank: str, tmp_path: Path) -> None:
    rows = ["objectId,value\n", f"{A}.jpg,1\n", f"{B}.jpg,0\n"]
    (tmp_path / "label.csv").write_text("".join([*rows[: line - 1], blank, *rows[line - 1 :]]))
    refused(f"line {line} is blank; remove it", label_file.read_labels, tmp_path / "label.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_is_the_line_of_the_file_also_behind_a_cell_of_several(end: str, tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    rows = ["objectId,value,note", f'{A}.jpg,1,"one{end}two{end}three"', f"{B}.jpg,{{}},x"]
    path.write_text(end.join(rows).format("yes"), newline="")
    refused("line 5: value 'yes' is not a label", label_file.read_labels, path)
    path.write_text(end.join([*rows, f"{A}.jpg,0,x"]).format(0), newline="")
    refused("label 1 on line 2 and label 0 on line 6; remove one", label_file.read_labels, path)
    path.write_text(end.join(rows).format(0).replace("note", "type"), newline="")
    refused("line 2: type 'one", label_file.read_split, path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"objectId,value\n{A}.jpg,1\n{B}.jpg,0\n", "has no column type"),
        (f"objectId,value,type\n{A}.jpg,1,train\n{B}.jpg,0,val\n", "line 3: type 'val' is not train, validation or"),
        ("objectId,value,type\n", "no rows"),
    ],
)
def test_a_file_that_is_no_split(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(InputError, match=says):
        label_file.read_split(tmp_path / "split.csv")
