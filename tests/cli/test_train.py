"""The main job as a person runs it: what a run leaves in MLflow, and a model that works elsewhere."""

import gc
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made, encoded, store, write_labels
from omegaconf import OmegaConf

from kesikaran.config.schema import SplitConfig

LOAD = """
import json, sys
import numpy as np, pandas as pd, tensorflow as tf
for line in sys.stdin:
    model, predictions, images, logged = json.loads(line)
    rows = pd.read_parquet(predictions)
    assert "kesikaran" not in sys.modules
    serve = tf.saved_model.load(model).signatures["serving_default"]
    read = lambda name: open(f"{images}/{name}", "rb").read()
    for split in ("train", "validation", "test"):
        part = rows[rows["split"] == split]
        out = serve(tf.constant([read(name) for name in part["object_id"]]))
        matrix = np.zeros((2, 2), int)
        np.add.at(matrix, (part["label"], out["label"]), 1)
        assert matrix.tolist() == json.load(open(f"{logged}/confusion_matrix_{split}.json"))["matrix"], split
        assert np.abs(out["logit"] - part["log_odds"]).max() < 1e-4
        assert np.allclose(out["probability"], part["probability"], atol=1e-5)
    print("agrees on", len(rows), flush=True)
"""


METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss", "brier")


def artifacts(client: Any, run: Any) -> Path:
    return Path(client.get_run(run.info.run_id).info.artifact_uri.removeprefix("file://"))


def saved_model(client: Any, run: Any) -> Path:
    (output,) = run.outputs.model_outputs
    return Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[subprocess.Popen[str]]]:
    """A process that knows nothing of the package and loads one model after the other, once it has been started."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.communicate(timeout=60)


@pytest.fixture
def loaded_elsewhere(
    stranger: list[subprocess.Popen[str]], client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Any, Path], str]:
    """What another process, in a folder of its own, says that compares a run's model with what the run logged."""

    def ask(run: Any, images: Path) -> str:
        if not stranger or stranger[-1].poll() is not None:
            elsewhere = tmp_path_factory.mktemp("elsewhere")
            command = [sys.executable, "-c", LOAD]
            stranger.append(subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, cwd=elsewhere))
        words = [saved_model(client, run) / "tf2model", artifacts(client, run) / "predictions.parquet"]
        words += [images, artifacts(client, run)]
        process = stranger[-1]
        assert process.stdin
        assert process.stdout
        print(json.dumps([*map(str, words)]), file=process.stdin, flush=True)
        said = process.stdout.readline()
        assert said, process.communicate()[1]
        return said

    return ask


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """The runs of `finished` by their words, each trained once for all tests that only read it."""
    return {}


@pytest.fixture
def finished(
    request: pytest.FixtureRequest,
    kept: dict[str, Any],
    train: Callable[..., Done],
    made: Made,
    runs: Callable[[], list[Any]],
) -> Any:
    """(what training with the given words printed, its run)"""
    words = getattr(request, "param", [])
    if str(words) not in kept:
        done = train(*made.words, "head.dropout=0.1", *words)
        assert done.code == 0, done.err
        (run,) = runs()
        kept[str(words)] = done, run
    return kept[str(words)]


def test_what_a_run_leaves(finished: Any, made: Made, client: Any) -> None:
    from kesikaran.config import compose
    from kesikaran.data import label_file, split, split_rules

    done, run = finished
    assert run.info.status == "FINISHED"
    table = split_rules.sha1_low_byte(label_file.read_labels(made.labels).table, SplitConfig())

    # Params: the whole config, and config.yaml the same
    assert set(run.data.params) == set(compose.known_keys())
    assert run.data.params["head.dropout"] == "0.1"
    written: Any = OmegaConf.load(artifacts(client, run) / "config.yaml")
    assert written.head.dropout == 0.1
    assert written.data.labels == str(made.labels)

    tags = run.data.tags
    assert tags["split_fingerprint"] == split.fingerprint(table)
    for tag in ("backbone_digest", "feature_cache_key", "data_digest", "run_fingerprint"):
        assert len(tags[tag]) == 32, tag
    assert tags["device"] == "cpu"
    assert {"git_commit", "git_dirty", "kesikaran_version"} <= set(tags)

    # Inputs: one a split, each under a digest of its own
    inputs = {i.tags[0].value: i.dataset.digest for i in run.inputs.dataset_inputs}
    assert set(inputs) == {"train", "validation", "test"}
    assert len(set(inputs.values())) == 3

    # Metrics: epochs with their steps, then the final ones, of exactly the split's images
    for name in ("train/loss", "validation/loss", "validation/auc", "workings/learning_rate"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [0, 1, 2, 3, 4], name
    final = run.data.metrics
    assert (final["workings/data/images"], final["workings/data/refused"]) == (240, 0)
    for name in split_rules.SPLITS:
        assert final[f"workings/{name}/n"] == (table["split"] == name).sum() > 0
        assert sum(final[f"workings/{name}/{cell}"] for cell in ("tn", "fp", "fn", "tp")) == final[f"workings/{name}/n"]
        for metric in [
            "accuracy",
            "balanced_accuracy",
            "precision",
            "recall",
            "f1",
            "roc_auc",
            "pr_auc",
            "log_loss",
            "brier",
        ]:
            assert np.isfinite(final[f"{name}/{metric}"])

    # What was validated on is the validation split
    (epoch,) = (
        m
        for m in client.get_metric_history(run.info.run_id, "validation/loss")
        if m.step == final["workings/best_epoch"]
    )
    assert epoch.value == pytest.approx(final["validation/log_loss"], rel=1e-3)

    # Artifacts at the root
    # To the toy backbone some of the made images are near-duplicates.
    others = {"roc_curve.png", "precision_recall_curve.png", "predictions.parquet", "prevalences.csv", "config.yaml"}
    others |= {"near_duplicates.csv"}
    matrices = {f"confusion_matrix_{s}.{kind}" for s in split_rules.SPLITS for kind in ("png", "json")}
    assert set(os.listdir(artifacts(client, run))) == others | matrices
    for name in split_rules.SPLITS:
        matrix = json.loads((artifacts(client, run) / f"confusion_matrix_{name}.json").read_text())["matrix"]
        assert [*matrix[0], *matrix[1]] == [final[f"workings/{name}/{cell}"] for cell in ("tn", "fp", "fn", "tp")]
    predictions = pd.read_parquet(artifacts(client, run) / "predictions.parquet")
    assert list(predictions.columns) == [
        "object_id",
        "split",
        "label",
        "logit",
        "log_odds",
        "probability",
        "predicted",
        "sure",
        "counts_fixed",
    ]
    columns = ["object_id", "label", "split"]
    pd.testing.assert_frame_equal(predictions[columns], table[columns], check_dtype=False)

    # The terminal: one small table and what to do next
    look = (
        f"Look at it:  mlflow ui --backend-store-uri {os.environ['MLFLOW_TRACKING_URI']}   (then http://127.0.0.1:5000/"
    )
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning)"
    assert done.out.splitlines()[-1] == look + page
    assert re.search(r"^ +test +validation\*$", done.out, re.MULTILINE)


@pytest.mark.parametrize(
    "finished",
    [
        [],
        ["decision=tuned", "decision.max_false_positive_rate=0.02"],
        ["decision=prior_shift", "decision.temperature=true"],
        ["augment=dihedral"],
    ],
    indirect=True,
    ids=["plain", "tuned", "prior_shift", "mean of eight views"],
)
def test_the_model_works_without_us(finished: Any, made: Made, loaded_elsewhere: Callable[..., str]) -> None:
    """Another process, elsewhere, the backbone's folder out of sight: the logged confusion matrices, exactly."""
    _, run = finished
    hidden = made.backbone.with_name("hidden")
    made.backbone.rename(hidden)
    try:
        assert "agrees on 240" in loaded_elsewhere(run, made.images)
    finally:
        hidden.rename(made.backbone)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_another_engine_is_said_and_measured(
    precision: str,
    train: Callable[..., Done],
    made: Made,
    runs: Callable[[], list[Any]],
    loaded_elsewhere: Callable[..., str],
) -> None:
    pytest.importorskip("openvino")
    done = train(*made.words, "backbone.engine=openvino", f"backbone.precision={precision}")
    assert done.code == 0, done.err
    (run,) = runs()
    deviation = run.data.metrics["workings/features/largest_deviation"]
    assert 0 < deviation < 1e-3 if precision == "float32" else 0 <= deviation < 0.1
    assert f"openvino in {precision}: its features differ from TensorFlow's by up to {deviation:.2g} on" in done.out
    assert ("some of its labels can differ" in done.out) == (precision == "bfloat16")
    if precision == "float32":
        assert "agrees on 240" in loaded_elsewhere(run, made.images)


def test_a_model_of_reduced_jpegs_reduces_them_itself(
    train: Callable[..., Done],
    made: Made,
    client: Any,
    runs: Callable[[], list[Any]],
    loaded_elsewhere: Callable[..., str],
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    labels = {}
    for number in range(60):
        pixels = random.integers(0, 180, (int(random.integers(130, 300)), 280, 3))
        pixels[..., 0] += 40 * (number % 2)
        labels[store(tmp_path / "images", encoded(pixels.astype(np.uint8), "JPEG"), ".jpg")] = number % 2
    words = [*made.words, f"data.labels={write_labels(tmp_path / 'label.csv', labels)}"]
    words += [f"data.images={tmp_path / 'images'}", "split=stratified_random"]
    logits = []
    for decode in ("reduced", "full"):
        done = train(*words, f"backbone.jpeg_decode={decode}")
        assert done.code == 0, done.err
        run = runs()[-1]
        assert "agrees on 60" in loaded_elsewhere(run, tmp_path / "images")
        logits.append(pd.read_parquet(artifacts(client, run) / "predictions.parquet")["logit"])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3, "the two decode differently, or this shows nothing"


def test_the_model_takes_pixels_and_serves_through_mlflow(finished: Any, made: Made, client: Any) -> None:
    import mlflow
    import tensorflow as tf
    from PIL import Image

    _, run = finished
    predictions = pd.read_parquet(artifacts(client, run) / "predictions.parquet")
    some = predictions[predictions["object_id"].str.endswith(".png")].head(3)
    paths = [made.images / name for name in some["object_id"]]

    pixels_of = tf.saved_model.load(str(saved_model(client, run) / "tf2model")).signatures["images"]
    for path, logit in zip(paths, some["logit"], strict=True):
        pixels = np.asarray(Image.open(path), np.float32)[None]
        assert pixels_of(tf.constant(pixels))["logit"].numpy()[0] == pytest.approx(logit, abs=1e-4)

    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    served = mlflow.pyfunc.load_model(str(saved_model(client, run)))
    answer = served.predict(np.array([path.read_bytes() for path in paths], object))
    assert answer["probability"].to_numpy() == pytest.approx(some["probability"].to_numpy(), abs=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        ["head=hidden", "head.hidden_units=[16,8]", "head.dropout=0.2", "head.l2=1e-4", "optimizer.lr=0.03"],
        ["optimizer=adamw", "optimizer.schedule=cosine"],
        ["optimizer=sgd"],
        ["optimizer=rmsprop", "fit.patience=null"],
        ["imbalance=class_weight"],
        ["imbalance=oversample"],
        ["imbalance=focal", "imbalance.focal_gamma=1"],
        ["imbalance=logit_adjusted"],
        ["imbalance=undersample", "fit.monitor=auc"],
        ["decision=cost", "decision.cost_false_negative=5"],
        ["decision=tuned", "decision.metric=f1", "imbalance=class_weight"],
        ["backbone.resize_method=bicubic", "backbone.antialias=false"],
        ["augment=flips", "imbalance=undersample", "head=hidden", "optimizer.lr=0.01"],
        ["split=sha1_fold", "split.folds=4", "split.fold=2"],
        ["split=blocks", "split.folds=4", "split.block_size=8"],
        ["split=stratified_random", "split.test_size=60"],
    ],
    ids=" ".join,
)
def test_every_choice_trains(
    words: list[str], train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    done = train(*made.words, "tracking.log_model=false", *words)
    assert done.code == 0, done.err
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/roc_auc"] > 0.7, "the made images differ by label"


def test_a_split_from_a_file(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """The script's file repeats the run that made the split itself."""
    from kesikaran.data import label_file, split_rules

    table = split_rules.sha1_low_byte(label_file.read_labels(made.labels).table, SplitConfig())
    table = table[["object_id", "label", "split"]]
    table.columns = pd.Index(["objectId", "value", "type"])
    table.to_csv(tmp_path / "split_label.csv", index=False)
    words = [*made.words, "tracking.log_model=false"]
    assert train(*words).code == 0
    done = train(*words, "split=from_file", f"split.file={tmp_path / 'split_label.csv'}")
    assert done.code == 0, done.err
    first, second = runs()
    assert first.data.tags["split_fingerprint"] == second.data.tags["split_fingerprint"]


def test_a_deterministic_run_is_the_same_bit_for_bit(tmp_path: Path, made: Made, client: Any) -> None:
    """In processes and caches of their own, so that neither features nor graphs are shared."""
    metrics = []
    for name in ("one", "two"):
        where = {**os.environ, "KESIKARAN_CACHE": str(tmp_path / name)}
        where["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / name}.db"
        words = [*made.words, "deterministic=true", "head.dropout=0.3", "tracking.log_model=false"]
        command = [sys.executable, "-m", "kesikaran.train", *words]
        done = subprocess.run(command, env=where, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "nothing of TensorFlow's start-up lines, and no bar for what is quick"
        with sqlite3.connect(tmp_path / f"{name}.db") as database:
            rows = database.execute("select key, step, value from metrics order by key, step").fetchall()
        metrics.append(rows)
    assert len(metrics[0]) > 40
    assert metrics[0] == metrics[1]


def test_the_seed_counts_and_zero_is_one(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    for seed in (0, 0, 1):
        assert train(*made.words, "tracking.log_model=false", "head.dropout=0.3", f"seed={seed}").code == 0
    first, again, other = (run.data.metrics["train/log_loss"] for run in runs())
    assert first == pytest.approx(again, rel=1e-4)
    assert first != pytest.approx(other, rel=1e-4)


def test_what_compares_all_pairs_is_left_out_of_a_large_set(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    from kesikaran.analysis import leakage
    from kesikaran.data import near_duplicates

    monkeypatch.setattr(near_duplicates, "MOST_IMAGES", 100)
    monkeypatch.setattr(leakage, "_PAIRS", 1000)
    words = [*made.words, "tracking.log_model=false", "evaluation.report=full"]
    done = train(*words)
    assert done.code == 0, done.err
    assert "Near-duplicates were not looked for: 240 images are too many for that (100 at most)" in done.out
    metrics = runs()[-1].data.metrics
    assert f"image (4 of {metrics['workings/test/n']:.0f}, drawn at random) has cosine" in done.out
    assert not [name for name in metrics if name.startswith("workings/leak/near_duplicates")]
    done = train(*words, "split.group=near_duplicate")
    assert done.code == 1
    assert done.err.startswith("error: split.group=near_duplicate: a run looks for near-duplicates among at most 100")
    assert done.err.count("\n") == 1
    table = pd.read_csv(made.labels)
    table.assign(near_duplicate=table["objectId"]).to_csv(tmp_path / "label.csv", index=False)
    done = train(*words, "split.group=near_duplicate", f"data.labels={tmp_path / 'label.csv'}")
    assert done.code == 0, done.err
    assert runs()[-1].data.metrics["workings/leak/near_duplicates_across_splits"] == 0


def test_garbage_is_collected_once_the_imports_are_done(
    train: Callable[..., Done], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.data import split

    unpatched = split.apply
    during: list[bool] = []

    def applied(*given: Any) -> Any:
        during.append(gc.isenabled())
        return unpatched(*given)

    monkeypatch.setattr(split, "apply", applied)
    assert train(*made.words, "head.dropout=0.1", "tracking.log_model=false").code == 0
    assert during == [True]
    assert gc.get_freeze_count() > 0
    assert train(*made.words, "head.dropout=2").code == 1
    assert gc.isenabled()


def test_flags_may_stand_among_the_overrides(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    done = train(*made.words, "tracking.log_model=false", "-m", "seed=1,2", "fit.epochs=2")
    assert done.code == 0, done.err
    _parent, *jobs = runs()
    assert [job.data.params["seed"] for job in jobs] == ["1", "2"]
    done = train("seed=1", "--cfg", "job", "fit.epochs=2", "--package", "fit")
    assert done.out.startswith("# @package fit\nepochs: 2\n")
    assert train("seed=1", "--no-such-flag").code == 2


def test_the_labels_that_are_given_are_the_data(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], client: Any, tmp_path: Path
) -> None:
    """It trained on the demo, with exit 0. As typed in the README, and the labels of a sweep."""
    words = [word for word in made.words if word not in ("data=label_csv", "data.name=made")]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(made.labels.read_text().splitlines()[:-1]))
    done = train("-m", *words, f"data.labels={made.labels},{other}", "tracking.log_model=false", "fit.epochs=1")
    assert done.code == 0, done.err
    parent, *jobs = runs()
    assert len({run.info.experiment_id for run in (parent, *jobs)}) == 1
    assert client.get_experiment(parent.info.experiment_id).name == "label_csv"
    assert [job.data.metrics["workings/data/images"] for job in jobs] == [240, 239]
    assert {job.data.params["data.source"] for job in jobs} == {"label_csv"}


def test_an_image_is_the_same_under_another_spelling_of_its_name(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    header, *rows = made.labels.read_text().splitlines()
    spelt = [row[:40] + row[44:] if number % 2 else row.upper() for number, row in enumerate(rows)]
    (tmp_path / "label.csv").write_text("\n".join([header, *spelt]))
    for labels in (made.labels, tmp_path / "label.csv"):
        done = train(*made.words, f"data.labels={labels}", "tracking.log_model=false", "fit.epochs=2")
        assert done.code == 0, done.err
    first, second = runs()
    assert second.data.metrics["workings/data/images"] == 240
    assert first.data.metrics["test/log_loss"] == second.data.metrics["test/log_loss"]


def test_a_similarity_that_does_nothing_is_refused(train: Callable[..., Done], made: Made, tmp_path: Path) -> None:
    table = pd.read_csv(made.labels)
    table.assign(near_duplicate=table["objectId"]).to_csv(tmp_path / "label.csv", index=False)
    words = [*made.words, "split.near_duplicate_similarity=0.8", f"data.labels={tmp_path / 'label.csv'}"]
    done = train(*words)
    assert done.code == 1
    assert done.err.startswith("error: split.near_duplicate_similarity=0.8 does nothing here: a run looks for near-dup")


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]], ids=["one run", "a sweep"])
def test_a_missing_package_of_the_demo_is_said_before_a_run_is_opened(
    words: list[str],
    train: Callable[..., Done],
    runs: Callable[[], list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    done = train(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err == 'error: the package elpv-dataset is not installed: pip install "kesikaran[demo]"\n'
    assert runs() == []


@pytest.mark.parametrize(("patience", "line"), [
    (1, r"^The head stopped early: best epoch \d+ of \d+, by validation\.$"),
    (50, r"^The head made all its epochs: best epoch \d of 5, by validation\.$"),
    (None, None),
])  # fmt: skip
def test_the_epoch_that_is_kept_is_said(
    patience: int | None, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    from kesikaran.experiment import frozen

    best, epochs = (2, 3) if patience == 1 else (5, 5)
    frozen.tell_stop("The head", patience, 5, best, epochs)
    out = capsys.readouterr().out
    assert re.match(line, out) if line else out == ""
