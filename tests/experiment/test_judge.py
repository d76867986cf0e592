"""The seam: whatever gives logits is judged alike, without a backbone, a head or a training."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kesikaran.config.schema import (
    DataConfig,
    DataSource,
    DecisionConfig,
    DecisionRule,
    EvaluationConfig,
    Experiment,
    GateConfig,
    Report,
    Rule,
)

pytestmark = pytest.mark.tensorflow

N = 300


class Saved:
    """A classifier that is saved nowhere: the decisions that it was to be saved with."""

    def __init__(self) -> None:
        self.decisions: list[Any] = []

    def log(self, run: Any, decision: Any, rule: Any) -> None:
        self.decisions.append(decision)


def settings(**given: Any) -> Experiment:
    e = Experiment(data=DataConfig(source=DataSource.label_csv, name="judged", labels="l.csv", images="i"))
    e.split.rule, e.backbone.handle = Rule.sha1_low_byte, "none"
    e.decision = DecisionConfig(rule=DecisionRule.plain)
    for name, value in given.items():
        setattr(e, name, value)
    return e


def trained(seed: int = 0) -> Any:
    """Logits that a network of any kind could have given: there is no image, no file and no head."""
    from kesikaran.experiment.judge import Trained

    random = np.random.default_rng(seed)
    label = random.integers(0, 2, N)
    split = np.array(["train", "validation", "test"])[np.arange(N) % 3]
    table = pd.DataFrame({"object_id": [f"{n:040x}.png" for n in range(N)], "label": label, "split": split})
    table = table.assign(row=np.arange(N), near_duplicate=table["object_id"])
    logits = (2.0 * label - 1 + random.normal(size=N)).astype(np.float32)
    return Trained(table, logits, Saved(), random.normal(size=(N, 8)).astype(np.float32))


def judged(e: Experiment, candidate: Any, tags: dict[str, str] | None = None) -> tuple[Any, str]:
    """(the verdict, the run's id)."""
    from kesikaran.experiment import judge
    from kesikaran.tracking import runs

    with runs.run("judged", None, {}) as run:
        run.tags(tags or {})
        return judge.judge(e, run, candidate), run.run_id


def files(client: Any, run_id: str) -> set[str]:
    return {artifact.path for artifact in client.list_artifacts(run_id)}


def test_logits_alone_are_judged_and_leave_all_that_a_run_leaves(client: Any) -> None:
    candidate = trained()
    verdict, run_id = judged(settings(), candidate)
    logged = client.get_run(run_id).data.metrics
    assert verdict.objective == logged["validation/selection_log_loss"]
    assert verdict.passed
    matrices = {
        f"confusion_matrix_{side}.{kind}" for side in ("train", "validation", "test") for kind in ("png", "json")
    }
    curves = {"roc_curve.png", "precision_recall_curve.png"}
    assert files(client, run_id) == matrices | curves | {"predictions.parquet", "prevalences.csv"}
    test = (candidate.table["split"] == "test").to_numpy()
    right = (candidate.logits >= 0) == candidate.table["label"]
    assert logged["test/accuracy"] == pytest.approx(right[test].mean())
    assert "workings/leak/nearest_cosine" in logged
    assert [decision.threshold for decision in candidate.classifier.decisions] == [0.0]


def test_the_classifier_is_saved_with_the_decision_and_only_where_a_model_is_asked_for(client: Any) -> None:
    e = settings(decision=DecisionConfig(rule=DecisionRule.cost, cost_false_negative=9.0))
    candidate = trained()
    judged(e, candidate)
    (decision,) = candidate.classifier.decisions
    assert decision.threshold == pytest.approx(-np.log(9))
    e.tracking.log_model = False
    without = trained()
    judged(e, without)
    assert without.classifier.decisions == []


def test_training_and_evaluation_judge_the_same_logits_alike(client: Any) -> None:
    from kesikaran.experiment import judge
    from kesikaran.tracking import artifacts, runs

    e = settings(decision=DecisionConfig(rule=DecisionRule.tuned))
    e.tracking.log_model = False
    verdict, first = judged(e, trained())
    rows = artifacts.predictions(first)
    with runs.run("judged", None, {}) as run:
        again = judge.judge_again(e, run, rows)
    assert again == verdict
    before, after = (client.get_run(one).data.metrics for one in (first, run.run_id))
    assert {name: value for name, value in before.items() if "leak/" not in name} == after
    pd.testing.assert_frame_equal(artifacts.predictions(run.run_id), rows)


def test_a_run_says_where_its_split_fixed_the_counts_of_labels(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from kesikaran.tracking import artifacts

    full = EvaluationConfig(report=Report.full)
    _, balanced = judged(settings(evaluation=full), trained())
    assert "The split fixed the counts of labels in validation and test." in capsys.readouterr().out
    rows = artifacts.predictions(balanced)
    assert rows.groupby("split")["counts_fixed"].all().to_dict() == {"test": True, "train": False, "validation": True}
    assert client.get_run(balanced).data.tags["fixed_label_counts"] == "validation,test"
    folds = settings(evaluation=full)
    folds.split.rule = Rule.sha1_fold
    _, drawn = judged(folds, trained())
    assert "counts of labels" not in capsys.readouterr().out
    assert client.get_run(drawn).data.tags["fixed_label_counts"] == "none"
    assert not artifacts.predictions(drawn)["counts_fixed"].any()


def test_groups_certify_less_than_their_images(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    e, candidate = settings(evaluation=EvaluationConfig(report=Report.full)), trained()
    judged(e, candidate)
    alone = int(((candidate.table["split"] == "test") & (candidate.table["label"] == 0)).sum())
    assert f"With {alone} test images of label 0 no false-positive rate" in capsys.readouterr().out
    e.split.group = "module"
    candidate.table["module"] = (candidate.table["row"] // 30).astype(str)
    judged(e, candidate)
    assert "With 10 groups of test images with label 0 no false-positive rate" in capsys.readouterr().out


def test_a_store_that_cannot_count_takes_no_run_with_it(
    client: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.core.errors import InputError

    def refused(split_fingerprint: str) -> int:
        raise InputError("no such page")

    monkeypatch.setattr("kesikaran.tracking.queries.finished_count", refused)
    _, run_id = judged(settings(), trained())
    assert "could not be counted: no such page" in capsys.readouterr().out
    assert client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize(("least", "passed"), [(0.5, True), (0.99, False)])
def test_the_gate_is_part_of_the_verdict(least: float, passed: bool, client: Any) -> None:
    e = settings(gate=GateConfig(metric="test/roc_auc", min=least))
    verdict, run_id = judged(e, trained())
    assert verdict.passed == passed
    assert client.get_run(run_id).data.tags["gate"] == ("passed" if passed else "failed")


def test_images_that_were_kept_together_are_so_in_the_predictions(client: Any) -> None:
    from kesikaran.tracking import artifacts

    e, candidate = settings(), trained()
    e.split.group = "row"
    _, run_id = judged(e, candidate)
    assert list(artifacts.predictions(run_id)["group"]) == [str(row) for row in candidate.table["row"]]


def test_the_objective_is_of_the_logits_and_not_of_the_decision(client: Any) -> None:
    from kesikaran.experiment import judge
    from kesikaran.metrics import binary
    from kesikaran.tracking import artifacts, runs

    candidate = trained()
    rows = candidate.table.assign(logit=candidate.logits)
    rows.loc[(rows["split"] == "train") & (rows["row"] > 150), "label"] = 0
    candidate = judge.Trained(rows.drop(columns="logit"), candidate.logits, Saved(), candidate.features)
    rules = (DecisionRule.plain, DecisionRule.prior_shift, DecisionRule.tuned)
    found = [judged(settings(decision=DecisionConfig(rule=rule)), candidate) for rule in rules]
    shares = {side: np.mean(rows.loc[rows["split"] == side, "label"]) for side in ("train", "validation")}
    shift = np.log(shares["validation"] / (1 - shares["validation"])) - np.log(shares["train"] / (1 - shares["train"]))
    assert shift > 0.3
    validation = rows[rows["split"] == "validation"]
    expected = binary.log_loss(validation["label"].to_numpy(), validation["logit"].to_numpy(float) + shift)
    assert [verdict.objective for verdict, _ in found] == pytest.approx([expected] * 3)
    data = client.get_run(found[0][1]).data
    assert data.metrics["validation/log_loss"] != pytest.approx(expected)
    assert (
        data.metrics["workings/validation/selection_log_loss_low"]
        < expected
        < data.metrics["workings/validation/selection_log_loss_high"]
    )
    assert float(data.tags["selection_shift"]) == pytest.approx(shift)
    with runs.run("judged", None, {}) as run:
        again = judge.judge_again(settings(), run, artifacts.predictions(found[2][1]))
    assert again.objective == pytest.approx(expected)


@pytest.mark.parametrize(
    ("patience", "decision", "line"),
    [
        (None, DecisionConfig(rule=DecisionRule.plain), None),
        (10, DecisionConfig(rule=DecisionRule.plain), "* Chosen on validation: epoch; its numbers flatter."),
        (
            10,
            DecisionConfig(rule=DecisionRule.tuned, temperature=True),
            "* Chosen on validation: epoch, temperature, threshold; its numbers flatter.",
        ),
    ],
)
def test_what_validation_has_chosen_is_marked(
    patience: int | None, decision: DecisionConfig, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    e = settings(decision=decision)
    e.fit.patience = patience
    judged(e, trained())
    out = capsys.readouterr().out
    assert ("validation*" in out) == (line is not None)
    assert (line in out.splitlines()) if line else ("Chosen on validation" not in out)


def test_many_looks_at_a_test_split_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.analysis import selection
    from kesikaran.data import split

    candidate = trained(seed=7)
    tag = {"split_fingerprint": split.fingerprint(candidate.table)}
    monkeypatch.setattr(selection, "MANY_LOOKS", 2)
    for _ in range(2):
        judged(settings(), candidate, tag)
    assert "finished runs of this store" not in capsys.readouterr().out
    judged(settings(), candidate, tag)
    assert "2 finished runs of this store were scored on this very split" in capsys.readouterr().out
    monkeypatch.setenv("KESIKARAN_SWEEP_ID", "5" * 32)
    judged(settings(), candidate, tag)
    assert "finished runs of this store" not in capsys.readouterr().out, "the sweep says it once"
