"""The file of predictions: the same rows in both kinds, and whole or not there."""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import one_line, refused

from kesikaran.core import scratch
from kesikaran.core.errors import InputError
from kesikaran.publish import prediction_file

COLUMNS = ["path", "sha1", "probability", "log_odds", "label", "sure", "refused"]


def rows(*paths: str) -> pd.DataFrame:
    """For each path a row of label 1, and one that is refused."""
    return pd.DataFrame(
        {
            "path": pd.Series([name for path in paths for name in (path, f"{path}.bad")], dtype=object),
            "sha1": ["a" * 40, ""] * len(paths),
            "probability": np.array([1 / 3, np.nan] * len(paths), np.float32),
            "log_odds": np.array([-0.69314718, np.nan] * len(paths), np.float32),
            "label": pd.array([1, None] * len(paths), "Int64"),
            "sure": pd.array([True, None] * len(paths), "boolean"),
            "refused": ["", "truncated or damaged: it ends, \"early\""] * len(paths),
        }
    )  # fmt: skip


def write(path: Path, *parts: pd.DataFrame) -> None:
    with prediction_file.opened(path) as append:
        for part in parts:
            append(part)


def test_both_kinds_have_the_same_rows(tmp_path: Path) -> None:
    parts = rows("a,b.png", 'c"\n.png'), rows("d.png")
    for name in ("p.parquet", "p.CSV"):
        write(tmp_path / name, *parts)
    assert sorted(os.listdir(tmp_path)) == ["p.CSV", "p.parquet"]
    parquet = pd.read_parquet(tmp_path / "p.parquet")
    assert list(parquet) == COLUMNS
    assert list(parquet["path"]) == [path for part in parts for path in part["path"]]
    assert [str(kind) for kind in parquet.dtypes[2:4]] == ["float32", "float32"]
    assert parquet["refused"][1] == 'truncated or damaged: it ends, "early"'
    csv = pd.read_csv(tmp_path / "p.CSV", dtype={"probability": "float32", "log_odds": "float32", "sure": "Int64"},
                      keep_default_na=False, na_values={name: [""] for name in COLUMNS[2:6]})  # fmt: skip
    pd.testing.assert_frame_equal(
        csv, parquet.assign(sure=parquet["sure"].astype("boolean").astype("Int64")), check_dtype=False
    )
    assert (tmp_path / "p.CSV").read_bytes().splitlines()[1] == (
        b'"a,b.png",aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,0.333333343,-0.693147182,1,1,'
    )


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_no_image_at_all_is_a_file_with_the_columns(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    found = read(tmp_path / name)
    assert (list(found), len(found)) == (COLUMNS, 0)


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_a_name_that_is_no_text_is_written_with_its_bytes_as_escapes(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, rows(os.fsdecode(b"\xff\xc3\xa9.png")))
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    assert read(tmp_path / name)["path"][0] == "\\xff\u00e9.png"


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [InputError("damaged"), SystemExit(130), RuntimeError()])
def test_a_block_that_ends_early_leaves_nothing_and_an_old_file_stays(
    tmp_path: Path, name: str, old: bytes | None, error: BaseException
) -> None:
    if old:
        (tmp_path / name).write_bytes(old)

    def end_early() -> None:
        with prediction_file.opened(tmp_path / name) as append:
            append(rows("a.png"))
            raise error

    with pytest.raises(type(error)):
        end_early()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({name: old} if old else {})


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_a_full_disk_is_one_line_and_an_old_file_stays(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"old")

    @contextmanager
    def full(parent: Path, prefix: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder:
            os.symlink("/dev/full", Path(folder) / name)
            yield Path(folder)

    monkeypatch.setattr(scratch, "held_folder", full)
    with pytest.raises(InputError) as caught:
        write(tmp_path / name, *[rows(*"abc" * 3000)] * 3)
    assert f"the folder {tmp_path} has no room left (No space left on device)" in str(caught.value)
    assert "or give another file with --out" in str(caught.value)
    assert one_line(str(caught.value))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"old"}


def test_a_stream_gets_csv() -> None:
    sink = io.StringIO()
    with prediction_file.opened(sink) as append:
        append(rows("a.png"))
        append(rows("b.png"))
    lines = sink.getvalue().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[0] for line in lines[1:]] == ["a.png", "a.png.bad", "b.png", "b.png.bad"]


def test_another_ending_a_folder_and_a_file_that_is_there_are_refused(tmp_path: Path) -> None:
    for name in ("p", "p.txt", "p.parquet.gz", ""):
        refused("is not allowed: a name that ends in .parquet or .csv", prediction_file.check, tmp_path / name, True)
    prediction_file.check(tmp_path / "P.CSV", False)
    (tmp_path / "folder.csv").mkdir()
    refused("folder.csv is a folder; give a file in it", prediction_file.check, tmp_path / "folder.csv", True)
    (tmp_path / "p.csv").write_bytes(b"old")
    os.symlink("nothing", tmp_path / "link.csv")
    for name in ("p.csv", "link.csv"):
        says = f"{name} is there already; give another name, or --force to replace it"
        refused(says, prediction_file.check, tmp_path / name, False)
        prediction_file.check(tmp_path / name, True)
    says = "is not writable (File exists): give another with --out"
    refused(says, prediction_file.check, tmp_path / "p.csv" / "q.csv", False)
    refused("has a name that is too long", prediction_file.check, tmp_path / ("x" * 252 + ".csv"), False)
    longest = tmp_path / ("x" * 251 + ".csv")
    prediction_file.check(longest, False)
    write(longest, rows("a.png"))
    assert longest.is_file()


def test_a_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    prediction_file.check(tmp_path / "a" / "b" / "p.csv", False)
    write(tmp_path / "a" / "b" / "p.csv", rows("a.png"))
    assert len(pd.read_csv(tmp_path / "a" / "b" / "p.csv")) == 2


def test_what_a_killed_call_has_left_goes(tmp_path: Path) -> None:
    code = "import os; from pathlib import Path; from kesikaran.publish import prediction_file\n"
    code += "with prediction_file.opened(Path('p.csv')): os._exit(9)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
    assert [path.name[:12] for path in tmp_path.iterdir()] == [".predicting-"]
    write(tmp_path / "p.csv", rows("a.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
