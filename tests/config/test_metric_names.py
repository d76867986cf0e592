"""The catalogue of metrics: every choice names metrics that are in it and that fit the choice."""

import pytest

from kesikaran.config import metric_names
from kesikaran.config.metric_names import METRICS, Kind, PairedTest
from kesikaran.config.schema import VERDICT, Monitor, TunedMetric


def test_every_choice_is_of_the_catalogue() -> None:
    choices = (
        metric_names.GATED,
        (VERDICT,),
        metric_names.IN_SWEEP_TABLE,
        metric_names.ACROSS_SETTINGS,
        metric_names.OVER_FOLDS,
        metric_names.OF_SEEDS,
        tuple(metric.name for metric in TunedMetric),
    )
    for choice in choices:
        assert set(choice) <= set(METRICS)
        assert len(choice) == len(set(choice)) > 0
    assert all(METRICS[name].name == name for name in METRICS)


def test_what_is_lower_the_better_cannot_be_gated() -> None:
    assert set(METRICS) - set(metric_names.GATED) == {"log_loss", "brier", "calibration_error"}
    assert all(METRICS[name].most == 1 for name in metric_names.GATED)  # gate.min is 0 to 1


def test_mcnemar_is_for_shares_whose_images_are_the_same_for_both_classifiers() -> None:
    """Not for the precision, whose denominator is what a classifier calls 1."""
    tested = {name for name, metric in METRICS.items() if metric.test is PairedTest.mcnemar}
    assert tested == {name for name, metric in METRICS.items() if metric.kind is Kind.proportion} - {"precision"}


def test_every_monitor_has_its_objective() -> None:
    assert set(metric_names.OBJECTIVE) == set(Monitor)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        (["auc", "auc"], "roc_auc"),
        (["loss"], "selection_log_loss"),
        (["auc", "loss"], "selection_log_loss"),
        ([], "selection_log_loss"),
        (["of another version"], "selection_log_loss"),
        (["auc", "of another version"], "roc_auc"),
    ],
)
def test_the_objective_is_that_of_all_runs_or_the_log_loss(params: list[str], name: str) -> None:
    assert metric_names.objective_of(params, lambda _: True).name == name
    assert metric_names.objective_of(params, lambda asked: asked != name).name == "log_loss", "as older runs have"
