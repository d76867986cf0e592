"""`kesikaran predict`: every name of a model, what is written, printed and copied, and what is refused."""

import io
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Done, Made
from registrable import finished

from kesikaran.analysis import sweep_summary
from kesikaran.cli import from_run
from kesikaran.cli import predict as door
from kesikaran.core.errors import InputError
from kesikaran.core.streams import wrapped
from kesikaran.publish import facts, predict
from kesikaran.tracking import models, queries, registry, runs

pytestmark = pytest.mark.tensorflow

Predict = Callable[..., Done]


@pytest.fixture(scope="module")
def kept() -> list[Any]:
    """The parent and the two jobs of the sweep that the tests of this file share; they read it alone."""
    return []


@pytest.fixture
def sweep(
    kept: list[Any], train: Callable[..., Done], made: Made, client: Any, runs: Callable[[], list[Any]]
) -> list[Any]:
    if not kept:
        done = train("-m", *made.words, "optimizer.lr=0.3,0.00001", "decision.error=0.3")
        assert done.code == 0, done.err
        kept.extend(runs())
        assert len(kept) == 3
        client.set_tag(kept[1].info.run_id, "mlflow.runName", f"best {uuid.uuid4().hex}")
        kept[1] = client.get_run(kept[1].info.run_id)
    return kept


@pytest.fixture
def job(sweep: list[Any]) -> Any:
    return sweep[1]


@pytest.fixture
def call(run: Callable[..., Done]) -> Predict:
    """`kesikaran predict WORDS`."""
    return lambda *words: run(door.main, "kesikaran predict", *words)


@pytest.fixture
def photos(made: Made, tmp_path: Path) -> Path:
    """Twelve images of the run, in the cache already, and one that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(made.images.iterdir())[:12]:
        shutil.copy(path, folder)
    (folder / "notes.txt").write_text("text")
    return folder


def saved_model(run: Any) -> Path:
    from kesikaran.tracking import model_files

    return model_files.of_run(queries.find(run.info.run_id)) / models.SAVED_MODEL


def refused(done: Done, says: str) -> None:
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: "), done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert says in done.err


def test_every_name_of_a_model_gives_the_same(
    sweep: list[Any], job: Any, call: Predict, photos: Path, tmp_path: Path
) -> None:
    name = f"cells {uuid.uuid4().hex[:8]}"
    registry.set_alias(name, "champion", registry.register(queries.find(job.info.run_id), name))
    published = tmp_path / "published"
    shutil.copytree(saved_model(job), published / "saved_model")
    words = {
        "id": job.info.run_id,
        "beginning of an id": job.info.run_id[:12],
        "name": job.info.run_name,
        "sweep": sweep[0].info.run_id,
        "registry": f"models:/{name}@champion",
        "version": f"models:/{name}/1",
        "published": published,
        "SavedModel": published / "saved_model",
        "MLflow's folder": saved_model(job).parent,
    }
    found = {}
    for kind, word in words.items():
        done = call(word, photos, "--out", tmp_path / f"{kind}.parquet")
        assert done.code == 0, (kind, done.err)
        found[kind] = pd.read_parquet(tmp_path / f"{kind}.parquet")
        pd.testing.assert_frame_equal(found[kind], found["id"], check_exact=True)
    other = call(sweep[2].info.run_id, photos, "--out", tmp_path / "other.parquet")
    assert other.code == 0
    assert not pd.read_parquet(tmp_path / "other.parquet").equals(found["id"]), "the best job is one of two"


def test_what_is_written_said_and_copied(job: Any, call: Predict, photos: Path, tmp_path: Path) -> None:
    out, copies = tmp_path / "p.csv", tmp_path / "sorted"
    done = call(job.info.run_id, photos, "--out", out, "--copy-to", copies)
    assert done.code == 0, done.err
    rows = pd.read_csv(out, keep_default_na=False, dtype=str)
    assert list(rows) == ["path", "sha1", "probability", "log_odds", "label", "sure", "refused"]
    decision = rows["label"].where(rows["sure"] == "1", "not_sure")[rows["refused"] == ""]
    counts = decision.value_counts()
    ones, zeros, doubts = (counts.get(name, 0) for name in ("1", "0", "not_sure"))
    assert done.out.splitlines() == [
        f"12 images: {ones} surely 1, {zeros} surely 0, {doubts} not sure.",
        "Refused, 1: 1 not a JPEG or PNG image.",
        f"Written to {out}",
        f"Copied into {copies}",
    ]
    expected = sorted(f"{where}/{os.path.basename(path)}" for where, path in zip(decision, rows["path"]))  # noqa: B905
    assert sorted(str(path.relative_to(copies)) for path in copies.rglob("*.*")) == expected
    # A file that is there is replaced where that is asked for alone
    before = out.read_bytes()
    refused(call(job.info.run_id, photos, "--out", out), f"--out {out} is there already; give another name, or --force")
    out.write_bytes(b"old")
    assert call(job.info.run_id, photos, "--out", out, "--force").code == 0
    assert out.read_bytes() == before


def test_without_a_file_the_table_alone_is_printed(
    job: Any, call: Predict, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = predict._rows

    def chatty(*words: Any) -> Any:
        print("A shard of the feature cache is damaged")
        return rows(*words)

    monkeypatch.setattr(predict, "_rows", chatty)
    done = call(job.info.run_id, photos, "--copy-to", tmp_path / "sorted", "--link")
    assert done.code == 0, done.err
    found = pd.read_csv(io.StringIO(done.out))
    assert list(found["path"]) == [str(path) for path in sorted(photos.iterdir())]
    for said in ("A shard of the feature cache is damaged\n", "12 images: ", f"Linked into {tmp_path / 'sorted'}\n"):
        assert said in done.err
    assert all(path.is_symlink() for path in (tmp_path / "sorted").rglob("*.jpg"))


def test_paths_come_from_a_list_and_from_standard_input(
    job: Any, call: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [path.name for path in sorted(photos.iterdir())[:3]]
    (photos / "list.csv").write_text("path\n" + "\n".join(names) + "\n")
    listed = call(job.info.run_id, photos / "list.csv")
    given = io.TextIOWrapper(io.BytesIO("".join(f"{photos / name}\n" for name in names).encode()))
    monkeypatch.setattr("sys.stdin", given)
    piped = call(job.info.run_id, "-")
    assert (listed.code, piped.code) == (0, 0), piped.err
    assert listed.out == piped.out
    assert len(piped.out.splitlines()) == 4


def test_an_empty_list_of_paths_leaves_no_file(
    job: Any, call: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    refused(call(job.info.run_id, "-", "--out", tmp_path / "out.csv"), "standard input held no path")
    assert list(tmp_path.iterdir()) == []


def test_a_printed_table_that_is_not_whole_is_no_success(
    job: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["kesikaran predict", job.info.run_id, str(photos)])
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(
            SystemExit, match="error: the table that was printed is not whole: make room, or give --out"
        ):
            door.main()


def test_a_file_is_whole_whatever_becomes_of_what_is_printed(
    job: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    monkeypatch.setattr("sys.argv", ["kesikaran predict", job.info.run_id, str(photos), "--out", str(out)])
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", wrapped(full))
        print("what another wrote", flush=True)
        door.main()
    assert len(pd.read_csv(out)) == 13


def test_where_all_images_are_refused_the_file_is_written_and_the_code_is_1(
    job: Any, call: Predict, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("text")
    files = [tmp_path / name for name in ("a.png", "b.png", "a.png")]
    done = call(job.info.run_id, *files, "--out", tmp_path / "p.csv")
    assert done.code == 1
    assert done.err.endswith("error: no image could be used (3 not a JPEG or PNG image)\n")
    assert len(pd.read_csv(tmp_path / "p.csv")) == 3


def test_models_that_are_refused(call: Predict, photos: Path, tmp_path: Path, job: Any) -> None:
    bare = finished("without a model", has_model=False)
    refused(call(bare.run_id, photos), "has no model")
    with pytest.raises(SystemExit), runs.run("registry", "broken", {}) as broken:
        raise SystemExit(1)
    refused(call(broken.run_id, photos), "not FINISHED")
    refused(call("no such run", photos), "there is no run no such run in ")
    refused(call("models:/none@champion", photos), "there is no registered model none")
    refused(call("models:/none", photos), "models:/none is not allowed: models:/NAME@ALIAS or models:/NAME/VERSION")
    refused(call(photos, photos), f"{photos} holds no model: saved_model.pb is neither in it nor in its saved_model/")
    refused(call(finished("older").run_id, photos), f"has no {facts.FILE}: it is no model of kesikaran, or")
    shutil.copytree(saved_model(job), tmp_path / "model")
    (tmp_path / "model" / facts.FILE).write_text("{}")
    refused(call(tmp_path / "model", photos), "kesikaran.json is damaged")


def test_words_that_are_refused(job: Any, call: Predict, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden.png").write_bytes(b"")
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "empty"], f"there is no file in {tmp_path / 'empty'}"),
        ([photos, tmp_path / "gone"], f"{tmp_path / 'gone'} does not exist: give files, folders, a CSV"),
        ([photos, "--link"], "--link is not allowed without --copy-to FOLDER, which it is for"),
        ([photos, "--force"], "--force is not allowed without --out FILE, which it is for"),
        ([photos, "--out", tmp_path / "p.json"], "p.json is not allowed: a name that ends in .parquet or .csv"),
        ([tmp_path / "empty", "--copy-to", photos / "notes.txt"], "notes.txt is a file; give another folder"),
        ([photos, "--copy-to", photos], f"--copy-to {photos} lies in {photos}, whose images are read; give a folder"),
        ([photos, "--copy-to", photos / "sorted"], f"lies in {photos}, whose images are read"),
    ]
    for words, says in cases:
        refused(call(job.info.run_id, *words), says)
    assert not (photos / "sorted").exists()
    done = call(job.info.run_id)
    assert done.code == 2
    assert "the following arguments are required: PATH" in done.err


def test_ctrl_c_says_what_it_leaves(
    job: Any, call: Predict, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_rows", lambda *_: signal.raise_signal(signal.SIGINT))
    done = call(job.info.run_id, photos, "--out", tmp_path / "p.parquet")
    assert done.code == 130
    assert done.err == "Stopped. What was computed is in the cache: the same command goes on from there.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_sweep_without_a_best_job_is_refused(
    sweep: list[Any], call: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_summary, "best", lambda jobs: None)
    parent = sweep[0].info.run_id
    refused(
        call(parent, photos), f"{parent} is a sweep none of whose jobs is the best, since they are of several folds"
    )
    from_run._saved.cache_clear()
    with pytest.raises(
        InputError, match=f"finetune.from_run={parent} is not allowed: it is a sweep none of whose jobs"
    ):
        from_run._saved(parent)
