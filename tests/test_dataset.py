"""A label file from a stranger ends in a table or in one clear line."""

from pathlib import Path

import numpy as np
import pytest

from kesikaran import dataset
from kesikaran.errors import InputError

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
        ("objectId,value\n\xff\xfe", "not a readable UTF-8 CSV"),
    ],
)
def test_bad_label_files_are_one_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "label.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=says) as caught:
        dataset.read_labels(path)
    assert "\n" not in str(caught.value)


def test_a_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        dataset.read_labels(tmp_path / "label.csv")


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
    table = dataset.read_labels(tmp_path / "label.csv").table
    assert table[["object_id", "label"]].to_dict("list") == {"object_id": [f"{A}.jpg", f"{B}.jpg"], "label": [1, 0]}


def test_upper_case_names_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "label.csv").write_text(f"objectId,value\n{A.upper()}.JPG,1\n{A}.jpg,1\n{B}.jpg,0\n")
    labels = dataset.read_labels(tmp_path / "label.csv")
    assert labels.repeated == 1
    assert sorted(labels.table["object_id"].map(dataset.sha1_of)) == [A, B]


def test_a_thousand_mutated_files_end_in_a_table_or_in_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [random.bytes(20).hex() for _ in range(12)]
    whole = (
        "objectId,value,note\n" + "".join(f"{n}.jpg,{i % 2},{'note ' * 20}{i}\n" for i, n in enumerate(names))
    ).encode()
    pieces = [
        b"\n",
        b",",
        b'"',
        b"\0",
        b"\r",
        b"\xff",
        b"../",
        b"\xef\xbb\xbf",
        b"1e9",
        b"objectId",
        b";",
        b"\t",
        b"=cmd",
    ]
    path, tables = tmp_path / "label.csv", 0
    messages: list[str] = []
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(random.integers(1, 3)):
            at, length = int(random.integers(0, len(content) + 1)), int(random.integers(0, 30))
            match random.integers(0, 4):
                case 0:
                    del content[at : at + length]
                case 1:
                    content[at:at] = pieces[random.integers(0, len(pieces))]
                case 2:
                    content[at:at] = content[at : at + length]
                case _:
                    content[at : at + 1] = random.bytes(1)
        path.write_bytes(content)
        try:
            table = dataset.read_labels(path).table
        except InputError as error:
            messages.append(str(error))
        else:
            tables += 1
            assert set(table["label"]) == {0, 1}
            assert table["object_id"].str.fullmatch(r"[0-9a-fA-F]{40}(\.[A-Za-z0-9]+)*").all()
            assert table["object_id"].map(dataset.sha1_of).is_unique
    assert all("\n" not in message and len(message) < 1000 for message in messages)
    assert min(tables, len(messages)) > 100, "both ends are reached"


def test_repeated_rows_count_once_and_the_order_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,value\n{B}.jpg,1\n{A}.jpg,0\n{B}.jpg,1\n")
    labels = dataset.read_labels(path)
    assert labels.repeated == 1
    assert labels.table.to_dict("list") == {"object_id": [f"{A}.jpg", f"{B}.jpg"], "label": [0, 1], "row": [1, 0]}


def test_further_columns_are_kept_as_text_and_ours_cannot_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text(f"objectId,session,value,split,row,label\n{B}.jpg,007,1,x,9,0\n{A}.jpg,,0,x,9,1\n")
    table = dataset.read_labels(path).table
    assert table.to_dict("list") == {
        "object_id": [f"{A}.jpg", f"{B}.jpg"], "label": [0, 1], "session": ["", "007"], "row": [1, 0],
    }  # fmt: skip


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
        dataset.read_split(tmp_path / "split.csv")
