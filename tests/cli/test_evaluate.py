"""A finished run decided anew from its logits: what training would have left, and nothing half done."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made
from omegaconf import OmegaConf

from kesikaran.tracking import metric_places

QUICK = ("tracking.log_model=false",)


def artifacts(run: Any) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def predictions(run: Any) -> pd.DataFrame:
    return pd.read_parquet(artifacts(run) / "predictions.parquet")


@pytest.fixture
def evaluate(run: Callable[..., Done]) -> Callable[..., Done]:
    """`python -m kesikaran.evaluate WORDS`."""
    from kesikaran import evaluate as door

    return lambda *words: run(door.main, "kesikaran-evaluate", *words)


@pytest.fixture
def own_source(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> Any:
    """A plain run that the test may damage. It is one of `runs`."""
    name = f"run {time.time_ns()}"  # found by it, so it must be the only one of that name
    done = train(*made.words, *QUICK, f"tracking.run_name='{name}'", "split.test=[0,70]", "split.validation=[70,140]")
    assert done.code == 0, done.err
    return runs()[-1]


@pytest.fixture(scope="module")
def kept() -> list[Any]:
    """The plain run that the tests of this file share, once one of them has trained it."""
    return []


@pytest.fixture
def source(request: pytest.FixtureRequest, kept: list[Any]) -> Any:
    """A plain run that is read and never changed."""
    if not kept:
        kept.append(request.getfixturevalue("own_source"))
    return kept[0]


@pytest.fixture
def later(source: Any, runs: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    """The runs made since the test began, oldest first, without the source."""
    return lambda: [run for run in runs() if run.info.run_id != source.info.run_id]


@pytest.mark.parametrize(
    "words",
    [
        ["decision=prior_shift", "decision.temperature=true"],
        ["decision=tuned", "decision.max_false_positive_rate=0.1"],
        ["decision=cost", "decision.cost_false_negative=7", "decision.prevalence=0.1"],
    ],
    ids=lambda words: words[0],
)
def test_it_is_the_run_that_training_with_this_decision_would_have_been(
    words: list[str],
    source: Any,
    train: Callable[..., Done],
    evaluate: Callable[..., Done],
    made: Made,
    later: Callable[[], list[Any]],
) -> None:
    assert evaluate(source.info.run_id, *words).code == 0
    split = ["split.test=[0,70]", "split.validation=[70,140]"]
    assert train(*made.words, *QUICK, *split, *words).code == 0
    ours, theirs = later()
    assert ours.info.status == "FINISHED"
    assert ours.info.experiment_id == theirs.info.experiment_id
    known = metric_places.read(theirs.data.metrics)
    expected = {name: value for name, value in known.items() if name.split("/")[0] in
                ("train", "validation", "test", "decision") and name not in ("train/loss", "validation/loss",
                "validation/selection_loss", "validation/auc")}  # fmt: skip
    assert metric_places.read(ours.data.metrics) == pytest.approx(expected, abs=1e-3)
    assert ours.data.params == theirs.data.params
    for tag in ("split_fingerprint", "data_digest", "backbone_digest", "feature_cache_key"):
        assert ours.data.tags[tag] == theirs.data.tags[tag]
    fingerprints = {run.data.tags["run_fingerprint"] for run in (ours, theirs)}
    assert len(fingerprints) == 2, "it has no model, so no sweep may take it for a job that is finished"
    assert ours.data.tags["evaluated_run"] == source.info.run_id
    assert "evaluated_run" not in theirs.data.tags
    pd.testing.assert_frame_equal(predictions(ours), predictions(theirs), atol=1e-3)
    left = {"traceback.txt", "near_duplicates.csv"}
    assert set(os.listdir(artifacts(ours))) - left == set(os.listdir(artifacts(theirs))) - left
    inputs = [{i.tags[0].value: i.dataset.digest for i in run.inputs.dataset_inputs} for run in (ours, theirs)]
    assert inputs[0] == inputs[1]


def test_what_is_said_and_kept(source: Any, evaluate: Callable[..., Done], later: Callable[[], list[Any]]) -> None:
    done = evaluate(
        source.info.run_name, "decision=prior_shift", "evaluation.prevalences=[0.2]", "tracking.run_name=second"
    )
    assert done.code == 0, done.err
    (new,) = later()
    assert new.info.run_name == "second"
    assert "\nDecision: prior_shift: training has " in done.out
    before, after = (predictions(run).query("split == 'test'") for run in (source, new))
    turned = int((before["predicted"] != after["predicted"]).sum())
    assert turned > 0
    assert f"Against the run's own decision, on the test split: {turned} of {len(after)} labels differ." in done.out
    was, now = (run.data.metrics["test/accuracy"] for run in (source, new))
    assert f"\n  accuracy {was:.3f} -> {now:.3f}, by {now - was:+.3f} [" in done.out
    assert "(McNemar exact)\n" in done.out
    assert (artifacts(new) / "prevalences.csv").read_text().splitlines()[1].startswith("0.2,")
    assert "No model is logged" in done.out
    assert done.out.splitlines()[-1].endswith(f"python -m kesikaran.compare {source.info.run_id} {new.info.run_id}")
    np.testing.assert_array_equal(before["logit"], after["logit"])
    # The source is as it was
    assert predictions(source)["log_odds"].equals(predictions(source)["logit"].astype(float))


def test_what_is_not_given_stays_as_the_run_had_it(
    source: Any, evaluate: Callable[..., Done], later: Callable[[], list[Any]]
) -> None:
    assert evaluate(source.info.run_name, "decision=tuned", "decision.metric=f1", "evaluation.confidence=0.8").code == 0
    (second,) = later()
    words = "decision=tuned decision.metric=f1 evaluation.confidence=0.8"
    assert second.info.run_name == f"{source.info.run_name} {words}"
    assert evaluate(second.info.run_id, "decision.temperature=true").code == 0
    third = later()[-1]
    kept = {"decision.rule": "tuned", "decision.metric": "f1", "evaluation.confidence": "0.8", "fit.epochs": "5"}
    changed = {"decision.temperature": "True"}
    assert third.data.params == {**second.data.params, **kept, **changed}
    assert third.data.tags["evaluated_run"] == second.info.run_id
    # A rule chosen anew brings its own settings, not those of the old one
    assert evaluate(third.info.run_id, "decision=plain").code == 0
    assert later()[-1].data.params["decision.metric"] == "balanced_accuracy"


def test_a_run_of_an_earlier_version(
    own_source: Any, evaluate: Callable[..., Done], runs: Callable[[], list[Any]]
) -> None:
    """It lacks the group and the columns of decisions, in the store's params too."""
    with closing(sqlite3.connect(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))) as db, db:
        for group in ("decision.", "evaluation."):
            db.execute("DELETE FROM params WHERE run_uuid = ? AND key LIKE ?", (own_source.info.run_id, f"{group}%"))
    folder = artifacts(own_source)
    written: Any = OmegaConf.load(folder / "config.yaml")
    del written["decision"], written["evaluation"]
    OmegaConf.save(written, folder / "config.yaml")
    old = predictions(own_source)[["object_id", "split", "label", "logit", "probability"]]
    old.to_parquet(folder / "predictions.parquet", index=False)
    done = evaluate(own_source.info.run_id, "decision=tuned")
    assert done.code == 0, done.err
    assert "labels differ" in done.out
    assert {"log_odds", "predicted"} <= set(predictions(runs()[-1]))


def test_settings_that_no_longer_exist_are_named_with_a_way_out(
    own_source: Any, evaluate: Callable[..., Done], runs: Callable[[], list[Any]]
) -> None:
    folder, run_id = artifacts(own_source), own_source.info.run_id
    written = (folder / "config.yaml").read_text()
    again = "it cannot be evaluated: train again"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"evaluation.resamples": 2000, "evaluation.seed": 0}, "has settings that this version does not have: "
         "evaluation.resamples, evaluation.seed; give evaluation=default, which brings this version's"),
        ({"evaluation.seed": 0, "head.depth": 2}, f"does not have: head.depth, evaluation.seed; {again}"),
        ({"augment.flip": True}, f"does not have: augment.flip; {again}"),
        ({"imbalance.strategy": "prior_shift"}, "has a value that this version does not take: imbalance.strategy: "
         "Invalid value 'prior_shift', expected one of [none, class_weight, oversample, undersample, focal, "
         f"logit_adjusted]; {again}"),
        ({"decision.rule": "guess"}, "not take: decision.rule: Invalid value 'guess', expected one of [plain, "
         "prior_shift, tuned, cost]; give decision=plain, which brings this version's"),
    ]  # fmt: skip
    for changes, says in cases:
        changed = OmegaConf.create(written)
        for key, value in changes.items():
            OmegaConf.update(changed, key, value, force_add=True)
        OmegaConf.save(changed, folder / "config.yaml")
        done = evaluate(run_id)
        refused(done, f"config.yaml of run {run_id} has ")
        assert done.err.endswith(f"{says}\n"), done.err
        for way_out in ("evaluation=default", "decision=plain"):
            if way_out in says:
                assert evaluate(run_id, way_out).code == 0, "the way out is one"
    for damaged in ("5", "- a"):
        (folder / "config.yaml").write_text(damaged)
        refused(evaluate(run_id), f"config.yaml of run {run_id} is damaged: ")
    assert len(runs()) == 3


def refused(done: Done, says: str) -> None:
    assert done.code == 1, done.out
    assert done.err.startswith("error: ")
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert says in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no run is given: python -m kesikaran.evaluate RUN decision=prior_shift"),
        (["decision=plain"], "no run is given"),
        (
            ["first", "optimizer.lr=1"],
            "optimizer.lr=1 is not allowed: it needs training. Of a finished run only decision",
        ),
        (["first", "publish.max_changed=1"], "publish.max_changed=1 is not allowed: it is for kesikaran publish RUN"),
        (["first", "+decision.x=1"], "+decision.x=1 is not allowed: it needs training"),
        (["first", "tracking.log_model=true"], "tracking.log_model=true is not allowed"),
        (
            ["first", "decision=tunned"],
            "there is no option decision=tunned; the valid ones are: cost, plain, prior_shift",
        ),
        (["first", "decision.metrik=f1"], "there is no setting decision.metrik; the valid ones are: decision.rule"),
        (["first", "decision=plain,tuned"], "decision=plain,tuned gives several values; call it once for each"),
        (["first", "decision.metric=f1"], "decision.metric=f1 is not allowed: it does nothing under decision=plain"),
        (["first", "decision=prior_shift", "decision.prevalence=2"], "decision.prevalence=2.0 is not allowed"),
        (
            ["first", "evaluation.prevalences=[0.1"],
            "cannot read evaluation.prevalences=[0.1; write it in quotes where it has blanks",
        ),
        (["first", "evaluation.confidence=high"], "evaluation.confidence=high is not allowed"),
        (["first", "no such run"], "there is no run no such run"),
        (["f" * 32], "f" * 32),
    ],
    ids=str,
)
def test_words_that_are_refused_leave_no_run(
    words: list[str], says: str, source: Any, evaluate: Callable[..., Done], later: Callable[[], list[Any]]
) -> None:
    refused(evaluate(*(source.info.run_id if word == "first" else word for word in words)), says)
    assert later() == []


def test_runs_that_are_refused(
    train: Callable[..., Done], evaluate: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    assert train("-m", *made.words, *QUICK, "head.dropout=7").code == 1
    refused(evaluate(runs()[-1].info.run_id), "is FAILED, not FINISHED")
    assert train("-m", *made.words, *QUICK, "imbalance=class_weight").code == 0
    parent, job = runs()[-2:]
    refused(
        evaluate(parent.info.run_id), "is the parent of a sweep, without predictions of its own; give the ids of its"
    )
    says = "decision=prior_shift is not allowed with imbalance=class_weight: that has already moved the logits"
    refused(evaluate(job.info.run_id, "decision=prior_shift"), says)
    assert evaluate(job.info.run_id, "decision=tuned").code == 0
    assert "mlflow.parentRunId" not in runs()[-1].data.tags
    count = len(runs())
    (artifacts(job) / "config.yaml").write_text("[1, 2")
    refused(evaluate(job.info.run_id), f"config.yaml of run {job.info.run_id} is damaged")
    (artifacts(job) / "predictions.parquet").unlink()
    refused(evaluate(job.info.run_id), "has no predictions.parquet")
    assert len(runs()) == count


def test_a_validation_of_one_label_is_refused_before_training_and_before_an_evaluation(
    train: Callable[..., Done], evaluate: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    table = pd.read_csv(made.labels)
    table["type"] = ["test" if row % 5 == 0 else "train" for row in range(len(table))]
    table.loc[table.index[(table["value"] == 1) & (table["type"] == "train")][:20], "type"] = "validation"
    table.to_csv(tmp_path / "split.csv", index=False)
    words = [*made.words, *QUICK, "split=from_file", f"split.file={tmp_path / 'split.csv'}"]
    assert train(*words).code == 0
    plain = runs()[-1]
    cases = {
        "decision=tuned": "decision=tuned needs both labels in validation, which has only label 1",
        "decision=prior_shift": "decision=prior_shift needs both labels in validation, which has only label 1; or give",
        "decision.temperature=true": "decision.temperature=true needs both labels in validation, which has only label",
    }
    for word, says in cases.items():
        refused(train(*words, word), says)
        last = runs()[-1]
        assert last.info.status == "FAILED"
        assert "train/loss" not in last.data.metrics, "it was not trained"
        count = len(runs())
        refused(evaluate(plain.info.run_id, word), says)
        assert len(runs()) == count
    assert evaluate(plain.info.run_id, "decision=prior_shift", "decision.prevalence=0.2").code == 0


@pytest.mark.parametrize(("least", "code", "word"), [(0.1, 0, "passed"), (0.999, 3, "failed")])
def test_the_gate_judges_a_run_anew(
    least: float, code: int, word: str, source: Any, evaluate: Callable[..., Done], later: Callable[[], list[Any]]
) -> None:
    done = evaluate(source.info.run_id, "gate.metric=train/accuracy", f"gate.min={least}")
    assert done.code == code, done.err
    assert later()[-1].data.tags["gate"] == word
    assert later()[-1].info.status == "FINISHED"
