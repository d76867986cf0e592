"""Corrections of labels: all of them or none, and the labels as they were are kept."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done, mutated, one_line, refused

from kesikaran.cli.data import relabel as command
from kesikaran.core.errors import InputError
from kesikaran.data import label_file, original_names
from kesikaran.data.original_names import Origin
from kesikaran.data.relabel import relabel

A, B, C, D, E = (f"{letter * 40}.png" for letter in "abcde")
OTHER = f"{'f' * 40}.png"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set whose label file has columns of its own, in an order of its own, with an image twice."""
    rows = [f'{C},1,"c, 1"', f"{A},0,a", f"{B},1,b", f"{A.upper()},0,again", f"{D},0,d"]
    (tmp_path / "label.csv").write_text("objectId,value,camera\n" + "\n".join(rows) + "\n")
    return tmp_path


def corrections(data: Path, *rows: str) -> Path:
    path = data / "corrections.csv"
    path.write_text("object_id,label,corrected\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_the_corrected_labels_change_and_nothing_else(data: Path) -> None:
    before = (data / "label.csv").read_text()
    done = relabel(
        data / "label.csv", corrections(data, f"{A},0,1", f"{B.upper().removesuffix('.PNG')}, 1 ,0", f"{A},0,1")
    )
    expected = (
        before.replace(f"{A},0", f"{A},1").replace(f"{A.upper()},0", f"{A.upper()},1").replace(f"{B},1", f"{B},0")
    )
    assert (data / "label.csv").read_text() == expected
    assert done.changed.to_numpy().tolist() == [[A, 0, 1], [B, 1, 0]]
    assert done.rows == {0: 2, 1: 2}
    assert (done.kept.read_text(), done.kept.parent) == (before, data)
    assert label_file.read_labels(data / "label.csv").table["label"].tolist() == [1, 0, 1, 0]


def test_old_labels_are_kept_each_time_and_never_written_over(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "20260131-175900")  # two in one second
    contents = [(data / "label.csv").read_text()]
    for row in (f"{A},0,1", f"{A},1,0", f"{B},1,0"):
        relabel(data / "label.csv", corrections(data, row))
        contents.append((data / "label.csv").read_text())
    names = ["label.before-20260131-175900.csv", *(f"label.before-20260131-175900-{n}.csv" for n in (2, 3))]
    assert [(data / name).read_text() for name in names] == contents[:-1]


def test_a_label_file_of_another_name_keeps_it(data: Path) -> None:
    (data / "label.csv").rename(data / "near_duplicates.csv")
    done = relabel(data / "near_duplicates.csv", corrections(data, f"{A},0,1"))
    assert done.kept.name.startswith("near_duplicates.before-")
    assert done.stale == []


BAD = {
    "unknown": ([f"{A},0,1", f"{OTHER},1,0"], f"line 3: {{labels}} has no image {OTHER} (1 of 2 are not there)"),
    "applied": ([f"{A},1,0", f"{B},0,1"], "all 2 images have the corrected label in {labels} already"),
    "other labels": ([f"{B},1,0", f"{A},1,0"], f"line 3: the label of {A} is 0 in {{labels}}, not 1 (1 of 2 are like"),
    "no label": ([f"{A},0,2"], "line 2: corrected '2' is not a label; 0 or 1 is allowed"),
    "old is none": ([f"{A},,1"], "line 2: label '' is not a label"),
    "same": ([f"{A},0,1", f"{B},1,1"], "line 3: label and corrected are both 1; leave out what is right"),
    "conflict": ([f"{A},0,1", f"{A.upper()},1,0"], f"{A.upper()} is corrected to 1 on line 2 and to 0 on line 3"),
    "no id": (["../label.csv,0,1"], "line 2: object_id ../label.csv is no name of an image (40 hex digits)"),
    "no rows": ([], "has a header and no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_changes_nothing(case: str, data: Path) -> None:
    rows, says = BAD[case]
    path = corrections(data, *rows)
    before = {file.name: file.read_bytes() for file in data.iterdir()}
    refused(says.format(labels=data / "label.csv"), relabel, data / "label.csv", path)
    assert {file.name: file.read_bytes() for file in data.iterdir() if file.name != ".ingest.lock"} == before


def test_a_file_that_is_missing_or_none_is_said(data: Path) -> None:
    labels = data / "label.csv"
    refused("no.csv does not exist; the page of kesikaran data label-doubts", relabel, labels, data / "no.csv")
    refused("label file /no/label.csv does not exist", relabel, Path("/no/label.csv"), corrections(data, f"{A},0,1"))
    (data / "corrections.csv").write_text("")
    refused("corrections.csv is empty; a CSV with the columns object_id,label,corrected", relabel, labels,
            data / "corrections.csv")  # fmt: skip
    refused("has no column object_id, label, corrected", relabel, labels, labels)


def test_a_damaged_file_is_one_line_or_changes_what_it_says(data: Path) -> None:
    labels = data / "label.csv"
    before = labels.read_bytes()
    for content in mutated(f"object_id,label,corrected\n{A},0,1\n{B},1,0\n", 200):
        (data / "corrections.csv").write_bytes(content)
        changed, message = set(), ""
        try:
            changed = {tuple(row) for row in relabel(labels, data / "corrections.csv").changed.to_numpy().tolist()}
        except InputError as error:
            message = str(error)
        assert one_line(message) or not message, content
        assert changed <= {(A, 0, 1), (B, 1, 0)}, content
        assert bool(changed) == (labels.read_bytes() != before) == (not message), content
        labels.write_bytes(before)


def test_where_nothing_can_be_written_no_label_changes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (data / "label.csv").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused("cannot be written: No space left on device; no label was changed", relabel, data / "label.csv",
            corrections(data, f"{A},0,1"))  # fmt: skip
    assert (data / "label.csv").read_bytes() == before


def test_a_file_that_is_made_of_the_label_file_is_not_corrected_alone(data: Path) -> None:
    made = data / "near_duplicates.csv"
    made.write_bytes((data / "label.csv").read_bytes())
    before = made.read_bytes()
    says = f"would get the old labels back; give {data}, then make near_duplicates.csv anew"
    refused(says, relabel, made, corrections(data, f"{A},0,1"))
    assert made.read_bytes() == before


def test_the_command_names_the_images_and_says_what_to_do_next(data: Path, run: Callable[..., Done]) -> None:
    original_names.write(data, [Origin(A, "cats/tabby.jpg", "")])
    (data / "near_duplicates.csv").touch()
    done = run(command.main, "kesikaran data relabel", data, corrections(data, f"{A},0,1", f"{B},1,0"))
    (kept,) = data.glob("label.before-*.csv")
    assert done.out.splitlines() == [
        f"2 labels corrected in {data / 'label.csv'}:",
        "  0 -> 1  cats/tabby.jpg",
        f"  1 -> 0  {B}",
        "It has 2 images of label 0 and 2 of label 1 now.",
        f"The labels as they were: {kept}",
        f"{data / 'near_duplicates.csv'} still has the old labels: make it anew.",
        "Next: train again as before. Runs on the new labels are not mixed with the old ones.",
    ]
    assert (done.code, done.err) == (0, "")
    again = run(command.main, "kesikaran data relabel", data, data / "corrections.csv")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("error: corrections ")
