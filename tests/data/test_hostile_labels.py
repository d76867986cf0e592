"""Label files from strangers, each through every command that reads one: a stated refusal or the right result.

The commands run in one process of their own, whose memory is measured: `python test_hostile_labels.py FOLDER`.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import make_images, one_line, peak_bytes

from kesikaran.data import label_file, object_store

A, B = "a" * 40, "b" * 40
GOOD = ""  # the file is read, and says what the plain one says
FLOWS = ("split", "verify", "ingest into", "ingest list")


@dataclass(frozen=True)
class Case:
    """content: of the label file; a function makes it from the path. says: of the refusal, or GOOD. extra: the file has
    columns of its own, and an ingest does not write to it."""

    content: "bytes | Callable[[Path], object]"
    says: str = GOOD
    extra: bool = False


def sparse(head: bytes, size: int) -> Callable[[Path], object]:
    """A file that begins with `head` and goes on in NULs, which take no room on the disk."""

    def make(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return make


def cases(labels: dict[str, int]) -> dict[str, Case]:
    """The corpus. labels: object id -> label of a data set."""
    rows = [f"{name},{label}" for name, label in sorted(labels.items())]
    one, two, *_ = rows
    other = f"{one[:-1]}{1 - int(one[-1])}"

    def csv(header: str = "objectId,value", end: str = "\n", lines: list[str] = rows, last: str = "\n") -> bytes:
        return (end.join([header, *lines]) + last).encode()

    def more(header: str, cells: str) -> bytes:
        return csv(f"objectId,value{header}", lines=[row + cells for row in rows])

    def each(change: Callable[[str, str], str]) -> bytes:
        return csv(lines=[change(*row.split(",")) for row in rows])

    return {
        # what programs and people write
        "plain": Case(csv()),
        "no end of line": Case(csv(last="")),
        "BOM": Case(b"\xef\xbb\xbf" + csv()),
        "CRLF": Case(csv(end="\r\n")),
        "CR": Case(csv(end="\r")),
        "all quoted": Case(csv('"objectId","value"', lines=[f'"{row}"'.replace(",", '","') for row in rows])),
        "other order": Case(csv("value,objectId", lines=[",".join(row.split(",")[::-1]) for row in rows]), extra=True),
        "blanks round the label": Case(each(lambda name, label: f"{name}, {label} ")),
        "tab behind the label": Case(each(lambda name, label: f"{name},{label}\t")),
        "capitals": Case(each(lambda name, label: f"{name.upper()},{label}")),
        "without extensions": Case(each(lambda name, label: f"{name[:40]},{label}")),
        "other extensions": Case(each(lambda name, label: f"{name[:40]}.tiff,{label}")),
        "rows repeated": Case(csv(lines=[*rows, *rows])),
        "unsorted": Case(csv(lines=rows[::-1])),
        "blank last line": Case(csv(last="\n\n")),
        "blank last lines": Case(csv(last="\n\n  \n\t\n\r\n")),
        "commas at the end": Case(csv(last="\n,\n,\n")),
        "quotes of nothing at the end": Case(csv(last='\n"",""\n')),
        "100,000 blank lines at the end": Case(csv(last="\n" * 100_000)),
        "an index of pandas": Case(csv(",objectId,value", lines=[f"7,{row}" for row in rows]), extra=True),
        "a column of its own": Case(more(",session", ",x"), extra=True),
        "a column in words of the world": Case(more(",Größe 漢字 😀", ",ü😀"), extra=True),
        "a cell of several lines": Case(more(",note", ',"one\ntwo\r\nthree"'), extra=True),
        "a cell with quotes and commas": Case(more(",note", ',"a ""b"", c"'), extra=True),
        "a short row": Case(more(",note", ""), extra=True),
        "a column without a name": Case(more(",", ",x"), extra=True),
        "near_duplicates.csv": Case(more(",near_duplicate", f",{A}.jpg"), extra=True),
        "a hundred columns": Case(more("".join(f",c{n}" for n in range(100)), ",x" * 100), extra=True),
        "a cell of 100 kB": Case(more(",note", f",{'x' * 100_000}"), extra=True),
        "a control character in a name of a column": Case(more(",no\x1b[31mte", ",x"), extra=True),
        "NUL in a column of its own": Case(more(",note", ",a\0b"), extra=True),
        # no label file
        "empty": Case(b"", "is empty; a CSV with the columns objectId,value is needed"),
        "one end of line": Case(b"\n", "has no header and no rows"),
        "blanks": Case(b"   \n\n\t\n", "has no header and no rows"),
        "header alone": Case(b"objectId,value\n", "has a header and no rows"),
        "header and blanks": Case(b"objectId,value\n\n ,\n", "has a header and no rows"),
        "no header": Case(csv(one, lines=rows[1:]), "has no column objectId, value; it has: "),
        "another header": Case(csv("objectId,label"), "has no column value; it has: objectId, label"),
        "header in capitals": Case(csv("OBJECTID,VALUE"), "has no column objectId, value; it has: OBJECTID, VALUE"),
        "blank in the header": Case(csv("objectId, value"), "has no column value; it has: objectId,  value"),
        "semicolons": Case(csv().replace(b",", b";"), "has no column objectId, value; it has: objectId;value"),
        "tabs": Case(csv().replace(b",", b"\t"), "has no column objectId, value; it has: 'objectId\\tvalue'"),
        "sep=": Case(b"sep=,\n" + csv(), "has no column objectId, value; it has: sep="),
        "UTF-16": Case(csv().decode().encode("utf-16"), "is not a readable UTF-8 CSV: 'utf-8' codec can't decode"),
        "Latin-1": Case(more(",note", ",ü").decode().encode("latin-1"), "is not a readable UTF-8 CSV: 'utf-8' codec"),
        "a JPEG": Case(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8, "is not a readable UTF-8 CSV: 'utf-8' codec"),
        "a zip, as xlsx is": Case(b"PK\x03\x04\x14\0\x06\0\x08\0!\0" * 40, "has no column objectId, value; it has: "),
        "an open quote": Case(csv(last='\n"x,1\n') + csv(), "is not a readable UTF-8 CSV: line "),
        "a quote in the middle of quotes": Case(csv(last=f'\n"{A}"x,1\n'), "is not a readable UTF-8 CSV: line "),
        # wrong rows and columns
        "value twice": Case(more(",value", ",0"), "has the column value twice, as columns 2 and 3; rename or remove"),
        "objectId twice": Case(more(",objectId", ",x"), "has the column objectId twice, as columns 1 and 3; rename"),
        "another column twice": Case(more(",a,b,a ", ",x,y,z"), "has the column a twice, as columns 3 and 5; rename"),
        "a column row": Case(more(",row", ",1"), "has a column row, a name that is used here for something else"),
        "a column label": Case(more(",label", ",cat"), "has a column label, a name that is used here for something"),
        "a column split": Case(more(",split", ",test"), "has a column split, a name that is used here for something"),
        "a column object_id": Case(more(",object_id", ",1"), "has a column object_id, a name that is used here for"),
        "surplus comma": Case(each(lambda name, label: f"{name},{label},"), "line 2 has 3 fields, more than its"),
        "one surplus field": Case(csv(lines=[*rows, f"{one},x"]), f"line {len(rows) + 2} has 3 fields, more than its"),
        "a blank line at the top": Case(b"\n" + csv(), "line 1 is blank; remove it"),
        "a blank line in the middle": Case(csv(lines=[one, "", *rows[1:]]), "line 3 is blank; remove it"),
        "commas in the middle": Case(csv(lines=[one, two, ",", *rows[2:]]), "line 4 is blank; remove it"),
        "two files in one": Case(csv() + csv(), f"line {len(rows) + 2}: objectId 'objectId' is not a SHA-1 file name"),
        # wrong cells
        "an empty label": Case(csv(lines=[f"{one[:-1]}", *rows[1:]]), "line 2: value '' is not a label; 0 or 1 is"),
        "a word": Case(csv(lines=[*rows, f"{A}.jpg,yes"]), f"line {len(rows) + 2}: value 'yes' is not a label"),
        "TRUE and FALSE": Case(each(lambda n, v: f"{n},{bool(int(v))}".upper()), "E' is not a label; 0 or 1 is"),
        "1.0 and 0.0": Case(each(lambda name, label: f"{name},{label}.0"), ".0' is not a label; 0 or 1 is allowed"),
        "a Bengali one": Case(csv(lines=[*rows, f"{A}.jpg,১"]), "value '১' is not a label; 0 or 1 is allowed"),
        "NaN": Case(csv(lines=[*rows, f"{A}.jpg,NaN"]), "value 'NaN' is not a label; 0 or 1 is allowed"),
        "NUL behind the label": Case(each(lambda n, v: f"{n},{v}\0"), "\\x00' is not a label; 0 or 1 is allowed"),
        "a zero-width space": Case(each(lambda n, v: f"{n},{v}\u200b"), "\\u200b' is not a label; 0 or 1 is allowed"),
        "a label of 100 kB": Case(csv(lines=[*rows, f"{A},{'1' * 100_000}"]), "value '1111111111"),
        "no SHA-1": Case(csv(lines=[*rows, "cat.jpg,1"]), "objectId 'cat.jpg' is not a SHA-1 file name"),
        "39 digits": Case(csv(lines=[*rows, f"{A[1:]}.jpg,1"]), f"objectId '{A[1:]}.jpg' is not a SHA-1 file name"),
        "a path": Case(csv(lines=[*rows, f"images/{A}.jpg,1"]), "is not a SHA-1 file name (40 hex digits and an ext"),
        "out of the folder": Case(csv(lines=[*rows, f"../../{A}.jpg,1"]), "is not a SHA-1 file name"),
        "a Windows path": Case(csv(lines=[*rows, f"C:\\{A}.jpg,1"]), "is not a SHA-1 file name"),
        "an end of line in a name": Case(csv(lines=[*rows, f'"{A}.jpg\n",1']), "is not a SHA-1 file name"),
        "an escape code in a name": Case(csv(lines=[*rows, f"\x1b[31m{A}.jpg,1"]), "objectId '\\x1b[31maaa"),
        "a formula": Case(csv(lines=[*rows, "=cmd|' /C calc'!A0,1"]), "is not a SHA-1 file name"),
        "two labels": Case(csv(lines=[*rows, other]), f"label {one[-1]} on line 2 and label {other[-1]} on line "),
        "two labels, other spellings": Case(csv(lines=[*rows, f"{other[:40].upper()},{other[-1]}"]), " on line 2 and"),
        # too large
        "a million columns": Case(
            b"objectId,value," + b"c," * 1_000_000 + b"\n", "a row of more than 1,000,000 characters on line 1 (is a"
        ),
        "a million columns of one letter": Case(b"a," * 499_000 + b"\n" + b"1," * 499_000, "it has 499,001 columns"),
        "1,001 columns": Case(more("".join(f",c{n}" for n in range(999)), ""), "it has 1,001 columns, and 1,000 are"),
        "a line of 1 GB": Case(sparse(b"objectId,value\n", 10**9), "it has 1,000,000,000 bytes, and 200,000,000 are"),
        "a line of 190 MB": Case(sparse(csv(), 190_000_000), "a row of more than 1,000,000 characters on line "),
        "a header of 190 MB": Case(sparse(b"", 190_000_000), "a row of more than 1,000,000 characters on line 1 (is"),
        "a cell of 200 kB": Case(more(",note", f",{'x' * 200_000}"), "line 2: field larger than field limit (131072)"),
        "open quotes over millions of cells": Case(
            b'objectId,value\n"' + b'\n","' * 300_000, "a row of more than 1,000,000 characters on line "
        ),
        # no file
        "a folder": Case(lambda path: path.mkdir(), "is a folder; give the CSV in it"),
        "a FIFO": Case(lambda path: os.mkfifo(path), "does not exist"),
        "endless zeros": Case(lambda path: path.symlink_to("/dev/zero"), "does not exist"),
        "a link to itself": Case(lambda path: path.symlink_to(path.name), "does not exist"),
        "nothing": Case(lambda path: None, "does not exist"),
    }


def make(case: Case, path: Path) -> None:
    if callable(case.content):
        case.content(path)
    else:
        path.write_bytes(case.content)


def call(main: Callable[[], object], *words: object) -> dict[str, Any]:
    """Exit code, output and seconds of a command in this process."""
    sys.argv = ["kesikaran", *map(str, words)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    began = time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            print(stop.code if isinstance(stop.code, str) else "", file=err)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "seconds": time.perf_counter() - began}


def through_every_command(root: Path) -> None:
    """Print a JSON of what each command makes of each file."""
    from kesikaran.cli.data import ingest, split, verify

    labels = dict(line.split(",") for line in (root / "plain.csv").read_text().splitlines()[1:])
    found: dict[str, Any] = {}
    for number, (name, case) in enumerate(cases({k: int(v) for k, v in labels.items()}).items()):
        here = root / f"{number}"
        here.mkdir()
        (here / "images").symlink_to(root / "images")
        make(case, here / "label.csv")
        done: dict[str, Any] = {"split": call(split.main, here / "label.csv", "--out", here / "split.csv")}
        done["verify"] = call(verify.main, here)
        source = f"{root / 'source'}=1"
        done["ingest into"] = call(ingest.main, "--out", here, source)
        listed = here / "images.csv"
        make(case, listed)
        if isinstance(case.content, bytes):  # what is no SHA-1 may be a path, and other columns are needed
            listed.write_bytes(listed.read_bytes().replace(b"objectId", b"path", 1).replace(b"value", b"label", 1))
        done["ingest list"] = call(ingest.main, "--out", root / "listed" / str(number), listed)
        rows = label_file.read_labels(here / "label.csv").table if case.says == GOOD else None
        done["read"] = {}
        if rows is not None:
            sha1s = rows["object_id"].map(object_store.sha1_of)
            done["read"] = dict(zip(sha1s, rows["label"].tolist(), strict=True))
        done["peak"] = peak_bytes()
        found[name] = done
    print(json.dumps(found))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """(a folder with `images`, `plain.csv` and a `source` of one image, object id -> label)."""
    root = tmp_path_factory.mktemp("hostile")
    for name in ("images", "source"):
        (root / name).mkdir()
    made = make_images(root / "images", 60)
    first = min(name for name, label in made.items() if label == 1)
    (root / "source" / first).write_bytes((root / "images" / first).read_bytes())
    lines = "".join(f"{name},{label}\n" for name, label in made.items())
    (root / "plain.csv").write_text("objectId,value\n" + lines)
    return root, made


@pytest.fixture(scope="module")
def found(labels: tuple[Path, dict[str, int]]) -> dict[str, Any]:
    command = [sys.executable, __file__, str(labels[0])]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_label_file_is_read_rightly_or_refused_in_one_line(
    found: dict[str, Any], labels: tuple[Path, dict[str, int]]
) -> None:
    right = {name[:40]: label for name, label in labels[1].items()}
    corpus = cases(labels[1])
    assert len(corpus) >= 60
    for name, case in corpus.items():
        done = found[name]
        if case.says == GOOD:
            assert done["read"] == right, name
            assert [done[flow]["code"] for flow in FLOWS[:2]] == [0, 0], (name, done)
            assert "All is well" in done["verify"]["out"], name
            assert done["ingest into"]["code"] == int(case.extra), (name, done)
            assert ("has further columns, which would be lost" in done["ingest into"]["err"]) == case.extra, name
        else:
            for flow in FLOWS[:3]:
                is_made = flow == "ingest into" and name in ("nothing", "a link to itself")  # the ingest makes one
                assert done[flow]["code"] == int(not is_made), (name, flow, done)
                assert is_made or case.says in done[flow]["err"], (name, flow, done)


@pytest.mark.parametrize("flow", FLOWS)
def test_no_label_file_gives_more_than_one_line_of_error(flow: str, found: dict[str, Any]) -> None:
    for name, done in found.items():
        lines = done[flow]["err"].strip().splitlines()
        assert done[flow]["code"] in (0, 1), name
        assert len(lines) == (done[flow]["code"] and not done[flow]["out"]), (name, done)
        assert all(line.startswith("error: ") and one_line(line) for line in lines), (name, lines)


def test_no_label_file_takes_two_gigabytes_or_half_a_minute(found: dict[str, Any]) -> None:
    assert max(done["peak"] for done in found.values()) < 2e9
    for name, done in found.items():
        assert all(done[flow]["seconds"] < 30 for flow in FLOWS), (name, done)


if __name__ == "__main__":
    through_every_command(Path(sys.argv[1]))
