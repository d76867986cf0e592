"""The report of leaks of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Done, Made


def test_every_run_has_its_gauge(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """The made images' rows lie in the order of their SHA-1, so nothing is to be said of it; here they are sorted."""
    lines = made.labels.read_text().splitlines(keepends=True)
    by_label = tmp_path / "label.csv"
    by_label.write_text("".join([lines[0], *sorted(lines[1:], key=lambda line: line.split(",")[1])]))
    words = [*made.words, "tracking.log_model=false", "evaluation.report=full"]
    plain = train(*words)
    told = train(*words, f"data.labels={by_label}")
    blocks = train(*words, f"data.labels={by_label}", "split=blocks", "split.folds=3", "split.block_size=10")
    for done in (plain, told, blocks):
        assert done.code == 0, done.err
        assert "Leak gauge: the nearest training image of a test image has cosine 0." in done.out
    assert "Neighbours by" not in plain.out
    assert "Neighbours by row share their label 99.6% of the time" in told.out
    assert "Neighbours by" not in blocks.out, "they are kept together already"
    for run in runs():
        metrics = run.data.metrics
        assert 0 < metrics["workings/leak/nearest_cosine"] <= 1
        others = ("roc_auc_near", "roc_auc_far", "order_agreement", "order_chance")
        assert {f"workings/leak/{name}" for name in others} < set(metrics)
