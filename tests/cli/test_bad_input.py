"""Bad input ends in one clear line and a non-zero exit; nothing is lost and no run is left RUNNING."""

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done, Made, encoded, store, toy_backbone, write_labels

from kesikaran.data import label_file
from kesikaran.tracking import run_store

pytestmark = pytest.mark.tensorflow

A, B = "a" * 40, "b" * 40


def refused(done: Done, says: str) -> str:
    """Asserts exit 1 and one line on stderr with `says`; returns the line."""
    assert done.code == 1, done.out + done.err
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert done.err.strip().splitlines()[-1] == lines[0]
    assert says in lines[0]
    return lines[0]


# ---- settings


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("optimizer.lrr=1", "no setting optimizer.lrr; the valid ones are: optimizer.name, optimizer.lr, optimizer.s"),
        (
            "optimzer.lr=1",
            "no setting optimzer.lr; the valid ones are: augment, backbone, data, decision, deterministic",
        ),
        ("+head.depth=3", "no setting head.depth; the valid ones are: head.hidden_units, head.dropout, head.l2"),
        ("+depth=3", "no setting depth; the valid ones are: augment, backbone, data"),
        ("optimizer=adm", "no option optimizer=adm; the valid ones are: adam, adamw, rmsprop, sgd"),
        ("experiment=artcle", "no option experiment=artcle; the valid ones are: article, cv, debug"),
        (
            "imbalance=smote",
            "no option imbalance=smote; the valid ones are: class_weight, focal, logit_adjusted, none, oversample, u",
        ),
        ("optimizer.lr=fast", "optimizer.lr=fast is not allowed: Value 'fast' of type 'str' could not be converted to"),
        ("fit.epochs=1.5", "fit.epochs=1.5 is not allowed"),
        ("deterministic=perhaps", "deterministic=perhaps is not allowed"),
        ("fit.monitor=f1", "fit.monitor=f1 is not allowed: Invalid value 'f1', expected one of [loss, auc]"),
        ("device=tpu", "device=tpu is not allowed: Invalid value 'tpu', expected one of [auto, cpu, gpu]"),
        ("a b", "cannot read an override"),
        ("head.dropout=1", "head.dropout=1.0 is not allowed: 0 to below 1"),
        ("head.hidden_units=[0]", "head.hidden_units=[0] is not allowed"),
        ("head.l2=-1", "head.l2=-1.0 is not allowed"),
        ("optimizer.lr=0", "optimizer.lr=0.0 is not allowed: above 0"),
        ("optimizer.lr=nan", "optimizer.lr=nan is not allowed"),
        (
            "optimizer.momentum=0.9",
            "optimizer.momentum=0.9 is not allowed: it does nothing under optimizer=adam, it is a setting of sgd",
        ),
        (
            "optimizer.weight_decay=0.1",
            "optimizer.weight_decay=0.1 is not allowed: it does nothing under optimizer=adam, it is a setting of adamw",
        ),
        ("imbalance.focal_gamma=-1", "imbalance.focal_gamma=-1.0 is not allowed: 0 or more"),
        ("imbalance.tau=0", "imbalance.tau=0.0 is not allowed: above 0"),
        ("imbalance.tau=2", "imbalance.tau=2.0 is not allowed: it does nothing under imbalance=none, it is a setting"),
        ("fit.patience=0", "fit.patience=0 is not allowed: null or at least 1"),
        (
            "split.near_duplicate_similarity=1",
            "split.near_duplicate_similarity=1.0 is not allowed: above 0 and below 1",
        ),
        ("fit.batch_size=0", "fit.batch_size=0 is not allowed"),
        ("augment=trivial", "augment.name=trivial is not allowed: its views are endless, so that the features of a"),
        ("augment=flips augment.crop=0.7", "augment.crop=0.7 is not allowed: it does nothing under augment=flips, it"),
        ("augment=turns", "there is no option augment=turns; the valid ones are: dihedral, flips, none, standard, tri"),
        ("fit.label_smoothing=1", "fit.label_smoothing=1.0 is not allowed: 0 to below 1"),
        (
            "decision.prevalence=0.2",
            "decision.prevalence=0.2 is not allowed: it does nothing under decision=plain, it is a setting of prior_sh",
        ),
        ("decision=prior_shift decision.prevalence=1", "decision.prevalence=1.0 is not allowed: null, or above 0 and"),
        ("decision=cost decision.cost_false_positive=-1", "decision.cost_false_positive=-1.0 is not allowed: above 0"),
        ("decision=cost decision.cost_false_negative=inf", "decision.cost_false_negative=inf is not allowed: above 0"),
        (
            "decision=tuned decision.max_false_positive_rate=0",
            "decision.max_false_positive_rate=0.0 is not allowed: null, or above 0 and below 1",
        ),
        (
            "decision=tuned decision.metric=f1 decision.max_false_positive_rate=0.1",
            "decision.metric=f1 is not allowed: the threshold is tuned for it or for decision.max_false_positive_rate",
        ),
        ("decision=prior_shift imbalance=class_weight", "decision=prior_shift is not allowed with imbalance=class_we"),
        ("decision=cost imbalance=undersample", "decision=cost is not allowed with imbalance=undersample: that has"),
        ("seed=-1", "seed=-1 is not allowed"),
        ("split.test=[0,300]", "split.test=[0, 300] is not allowed"),
        ("split.validation=[10,50]", "split.validation=[10, 50] is not allowed: must not overlap split.test=[0, 25]"),
        (
            "split.fold=3",
            "split.fold=3 is not allowed: it does nothing under split=sha1_low_byte, it is a setting",
        ),
        ("split=sha1_folds", "no option split=sha1_folds; the valid ones are: blocks, from_file, sha1_fold, sha1_low_"),
        ("split=from_file", "split=from_file needs split.file=PATH"),
        ("split.group=session", "split.group=session is no column of the label file; it has: label, position, prob"),
        ("backbone.value_range=[1,0]", "backbone.value_range=[1.0, 0.0] is not allowed"),
        ("data.name=../x", "data.name=../x is not allowed"),
        ("data=label_csv", "data=label_csv needs data.labels=PATH"),
        ("data.images=.", "data=label_csv needs data.labels=PATH"),
        ("data.labels=label.csv", "data=label_csv needs data.images=PATH"),
        ("experiment=article data.labels=label.csv", "data=label_csv needs data.images=PATH"),
        (
            "data=elpv data.labels=label.csv",
            "data.labels=label.csv is not allowed: it does nothing with data=elpv, the",
        ),
        (
            f"data.name={'a' * 300}",
            f"data.name={'a' * 80}... is not allowed: letters, digits, blanks and . _ -, at most",
        ),
        (f"-m seed=1,2 data.name={'a' * 300}", f"data.name={'a' * 80}... is not allowed: letters, digits, blanks and"),
        ("data.name=", "data.name= is not allowed: letters"),
        (f"data.images=. data.labels={'a' * 7000}", "does not exist; give data.labels=PATH"),
        ("data.labels=l.csv data.images='~nobody-of-that-name/x'", "x does not exist; give data.images=FOLDER"),
        ("optimizer=adamw optimizer.weight_decay=inf", "optimizer.weight_decay=inf is not allowed: 0 or more"),
        ("backbone.jpeg_decode=reduced", "backbone.jpeg_decode=reduced is not allowed: it does nothing with data=elpv"),
        ("hydra/launcher=vectorized", "hydra/launcher=vectorized does nothing in a single run"),
        (
            "strategy=focal imbalance=oversample",
            "strategy=focal is not allowed beside imbalance=oversample: a strategy",
        ),
        ("device=gpu", "device=gpu and TensorFlow sees no GPU"),
    ],
)
def test_a_wrong_setting(words: str, says: str, train: Callable[..., Done], runs: Callable[[], list[Any]]) -> None:
    if words == "device=gpu":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            pytest.skip("this machine has a GPU")
    refused(train(*([words] if words == "a b" else words.split())), says)
    assert {run.info.status for run in runs()} <= {"FAILED"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["split=sha1_fold", "split.fold=10"], "split.fold=10 is not allowed: 0 to 9, below split.folds"),
        (["split=blocks", "split.block_size=100"], "split.block_size=100 makes 3 blocks of 240 images, and 10 folds"),
        (
            ["split=stratified_random", "split.test_size=1.5"],
            "split.test_size=1.5 is not allowed: a share between 0",
        ),
        (["split=stratified_random", "split.test_size=300"], "split.test_size=300 images cannot be drawn from 240"),
        (["split=from_file", "split.file=no.csv"], "split file no.csv does not exist; kesikaran data split writes one"),
        (["split=from_file", f"split.file={'a' * 300}"], "does not exist; kesikaran data split writes one"),
    ],
)
def test_a_wrong_split(words: list[str], says: str, train: Callable[..., Done], made: Made) -> None:
    done = train(*made.words, *words)
    refused(done, says)
    if "split=from_file" in words:
        assert "Features of" not in done.out, "the file is read before what takes time"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["imbalance=logit_adjusted", "imbalance.focal_gamma=1"],
            "imbalance.focal_gamma=1.0 is not allowed: it does nothing under imbalance=logit_adjusted, it is a setting",
        ),
        (
            ["imbalance=focal", "fit.label_smoothing=0.1"],
            "fit.label_smoothing=0.1 is not allowed: 0 with imbalance=foc",
        ),
    ],
)
def test_a_wrong_loss(words: list[str], says: str, train: Callable[..., Done]) -> None:
    refused(train(*words), says)


def test_legacy_keras(train: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    refused(train(), "TF_USE_LEGACY_KERAS is set: MLflow would then save a model that does not load again. Unset it")


def test_a_misspelt_setting_of_a_sweep_opens_nothing(train: Callable[..., Done], runs: Callable[[], list[Any]]) -> None:
    for words in (("head.dropuot=0.1,0.2",), ("optimzer=adam,sgd",), ("seed=1,2", "data.lables=x")):
        refused(train("-m", *words), f"there is no setting {words[-1].partition('=')[0]}; the valid ones are: ")
    assert runs() == []


# ---- the label file


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (None, "does not exist; give data.labels=PATH"),
        ("", "is empty"),
        ("objectId,value\n", "has a header and no rows"),
        (f"objectId,label\n{A}.jpg,1\n", "has no column value; it has: objectId, label"),
        (f"objectId,value\n{A}.jpg,1.5\n", "line 2: value '1.5' is not a label; 0 or 1 is allowed"),
        (f"objectId,value\n{A}.jpg,yes\n", "line 2: value 'yes' is not a label"),
        (f"objectId,value\n{A}.jpg,2\n", "line 2: value '2' is not a label"),
        (f"objectId,value\n{A}.jpg,1\n{B}.jpg,1\n", "every row has label 1; both 0 and 1 are needed"),
        ("objectId,value\ncat.jpg,1\n", "line 2: objectId 'cat.jpg' is not a SHA-1 file name"),
        (f"objectId,value\n../{A}.jpg,1\n", f"line 2: objectId '../{A}.jpg' is not a SHA-1 file name"),
        (f"objectId,value\n{A}.jpg,1\n{B}.jpg,0\n{A}.jpg,0\n", "label 1 on line 2 and label 0 on line 4; remove one"),
    ],
    ids=[
        "missing",
        "empty",
        "headless",
        "column",
        "fraction",
        "word",
        "two",
        "one-class",
        "no-hash",
        "path-parts",
        "two-labels",
    ],
)
def test_a_bad_label_file(
    rows: str | None, says: str, train: Callable[..., Done], runs: Callable[[], list[Any]], made: Made, tmp_path: Path
) -> None:
    labels = tmp_path / "label.csv"
    if rows is not None:
        labels.write_text(rows)
    refused(train(*made.words, f"data.labels={labels}"), says)
    assert runs() == [], "nothing was tried that a run could be a record of"
    assert train("-m", *made.words, f"data.labels={labels}", "seed=1,2").code == 1
    assert [run.info.status for run in runs()[1:]] == ["FAILED", "FAILED"], "of a sweep's jobs there is a record"


def test_a_repeated_row_is_counted_once_and_said(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    lines = made.labels.read_text().splitlines(keepends=True)
    (tmp_path / "label.csv").write_text("".join([*lines, lines[1], lines[7]]))
    done = train(*made.words, f"data.labels={tmp_path / 'label.csv'}", "tracking.log_model=false")
    assert done.code == 0
    assert "2 repeated rows of" in done.out
    assert "Features of 240 images" in done.out


def test_a_missing_image_folder(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    refused(train(*made.words, f"data.images={tmp_path / 'no'}"), "no does not exist; give data.images=FOLDER")


def test_a_split_without_an_image(train: Callable[..., Done], made: Made) -> None:
    line = refused(train(*made.words, "split.test=[0,1]"), "the test split is left with 0 images of label 0 and 0 of")
    assert "give the split more room (split.test and split.validation" in line


# ---- images


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing: a decompression bomb's door."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISE = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
BAD = {
    "empty": (b"", "empty"),
    "truncated png": (encoded(NOISE, "PNG")[:2000], "truncated or damaged"),
    "truncated jpeg": (encoded(NOISE, "JPEG")[:1500], "truncated or damaged"),
    "text": (b"<html>not found</html>", "not a JPEG or PNG image"),
    "gif": (encoded(NOISE, "GIF"), "not a JPEG or PNG image"),
    "bomb": (_png_header(30000, 30000), "too large in pixels"),
    "over the limit": (_png_header(8000, 8000), "too large in pixels: 8000 x 8000, allowed 50 megapixels"),
}


@pytest.fixture
def damaged(made: Made, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """The words that train on the made images and one image of every kind of damage; object id -> reason."""
    shutil.copytree(made.images, tmp_path / "images")
    reasons = {store(tmp_path / "images", content, ".jpg"): reason for content, reason in BAD.values()}
    reasons[f"{A}.jpg"] = "missing"
    (tmp_path / "images" / f"{B}.jpg").write_bytes(encoded(NOISE, "PNG"))
    reasons[f"{B}.jpg"] = "its content has another SHA-1 than its name"
    good = label_file.read_labels(made.labels).table
    labels = dict(zip(good["object_id"], good["label"], strict=True)) | dict.fromkeys(reasons, 1)
    write_labels(tmp_path / "label.csv", labels)
    return [*made.words, f"data.labels={tmp_path / 'label.csv'}", f"data.images={tmp_path / 'images'}"], reasons


def test_bad_images_are_refused_by_name_and_reason(
    damaged: tuple[list[str], dict[str, str]], train: Callable[..., Done], runs: Callable[[], list[Any]], client: Any
) -> None:
    import mlflow

    words, reasons = damaged
    for _ in range(2):  # the second time the others come from the cache, and the bad ones are found again
        done = train(*words, "tracking.log_model=false")
        assert done.code == 0, done.err
        assert f"Refused {len(reasons)} of {240 + len(reasons)} images:" in done.out
    for run in runs():
        counted = [run.data.metrics[f"workings/data/{name}"] for name in ("images", "refused")]
        assert counted == [240, len(reasons)]
        listed = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/refused_images.json")
        assert set(listed) == set(reasons)
        for name, reason in reasons.items():
            assert reason in listed[name]
            assert f"  {name}: {listed[name]}" in done.out
        counted = sum(run.data.metrics[f"workings/{split}/n"] for split in ("train", "validation", "test"))
        assert counted == 240


def test_a_bad_image_can_end_the_run(
    damaged: tuple[list[str], dict[str, str]], train: Callable[..., Done], runs: Callable[[], list[Any]]
) -> None:
    words, reasons = damaged
    done = train(*words, "data.on_bad_image=fail")
    refused(done, f"{len(reasons)} of {240 + len(reasons)} images were refused (the first: ")
    (run,) = runs()
    assert run.info.status == "FAILED"
    assert run.data.metrics["workings/data/refused"] == len(reasons)


def test_no_usable_image_at_all(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    refused(train(*made.words, f"data.images={tmp_path / 'images'}"), "none of the 240 images can be used")


# ---- the backbone


def test_a_handle_that_is_not_there(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    done = train(*made.words, f"backbone.handle={tmp_path / 'no'}")
    line = refused(done, f"backbone.handle={tmp_path / 'no'}: no SavedModel folder is there")
    assert "backbone=efficientnet_lite0" in line


def test_a_handle_that_is_no_saved_model(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    refused(train(*made.words, f"backbone.handle={tmp_path}"), f"{tmp_path} is no TF-Hub SavedModel: saved_model.pb")


def test_a_handle_that_is_no_feature_vector(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    handle = toy_backbone(tmp_path / "map", pool=False)
    refused(
        train(*made.words, f"backbone.handle={handle}"),
        "is no feature vector: of 2 images it gives float32 [2, 14, 14, 16] where float32 [2, width]",
    )


# ---- places that cannot be written


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_cache_that_cannot_be_written(
    words: list[str], train: Callable[..., Done], made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "file" / "cache"))
    refused(train(*words, *made.words), "set KESIKARAN_CACHE to")


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_store_that_cannot_be_written(
    words: list[str], train: Callable[..., Done], made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    refused(train(*words, *made.words), "is not writable")


# ---- training


def test_a_loss_that_is_not_a_number(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    done = train(*made.words, "head=hidden", "optimizer=sgd", "optimizer.lr=1e30")
    line = refused(done, "the loss became nan at epoch 0, step ")
    assert "try a lower optimizer.lr" in line
    (run,) = runs()
    assert run.info.status == "FAILED"
