"""The benchmark: what it writes, and a cheap figure really measured. Its own numbers are for a quiet machine."""

import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """The names of scripts/benchmark.py."""
    return runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "benchmark.py"))


def test_ratios_goals_and_spread(benchmark: Any) -> None:
    measure = benchmark["Measure"]
    quicker = measure("a", [1.0, 2.0, 6.0], "b", [20.0], 10.0).row()
    assert (quicker["median"], quicker["low"], quicker["high"]) == (2.0, 1.0, 6.0)
    assert (quicker["ratio"], quicker["reached"]) == (10.0, True)
    assert measure("a", [2.1], "b", [20.0], 10.0).row()["reached"] is False
    longer = measure("a", [6.0], "b", [2.0], 3.0, at_least=False).row()
    assert (longer["ratio"], longer["reached"]) == (3.0, True)
    assert measure("a", [6.1], "b", [2.0], 3.0, at_least=False).row()["reached"] is False
    # Of a rate much is wanted.
    rate = measure("a", [90.0], "b", [100.0], 0.95, unit="images/s").row()
    assert (rate["ratio"], rate["reached"]) == (0.9, False)
    assert measure("a", [0.0], "b", [64.0], 0.0, at_least=False, unit="images").row()["reached"] is True
    assert measure("a", [1.0], "b", [1.0], None).row()["reached"] is None


def test_table_json_and_chart(benchmark: Any, tmp_path: Path) -> None:
    measure = benchmark["Measure"]
    rows = [
        measure("a sweep", [1.0, 2.0, 3.0], "a loop", [500.0], 100.0).row(),
        measure("a pass", [50.0], "its limit", [100.0], 0.95, unit="images/s").row(),
        measure("a fit", [1.0], "another", [1.0], None).row(),
        measure("differences", [0.0], "none", [64.0], 0.0, at_least=False, unit="images").row(),
    ]
    where = benchmark["machine"]("demo")
    benchmark["write"](rows, where, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark.json", "benchmark.md", "benchmark.png"]
    assert json.loads((tmp_path / "benchmark.json").read_text()) == {"machine": where, "rows": rows}
    table = (tmp_path / "benchmark.md").read_text()
    assert "| a sweep | 2 s (1 - 3) | a loop | 500 s | 250 | at least 100 | reached |" in table
    assert "| a pass | 50 images/s | its limit | 100 images/s | 0.5 | at least 0.95 | **missed** |" in table
    assert "| a fit | 1 s | another | 1 s | 1 |  |  |" in table
    assert f"{where['cpu']}, {where['cores']} cores" in table
    assert f"tensorflow {where['libraries']['tensorflow']}" in table
    (axes,) = benchmark["chart"](rows).axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 250.0]
    assert axes.get_xscale() == "log"


@pytest.mark.tensorflow
def test_the_head_is_measured(benchmark: Any) -> None:
    size = benchmark["Size"](rounds=2, images=8, rows=400, width=8, epochs=3)
    with benchmark["working_place"](size) as place:
        root = place.root
        assert len(list((root / "images").iterdir())) == 8
        head, whole = (measure.row() for measure in benchmark["epoch"](place, size))
    assert not root.exists()
    assert head["rounds"] == 2  # of three epochs the first compiles
    assert whole["rounds"] == 2
    assert all(0 < row[name] < math.inf for row in (head, whole) for name in ("median", "against_median", "ratio"))


def test_a_tiny_sweep_trains_what_the_program_trains(
    benchmark: Any, train: Callable[..., Done], runs: Callable[[], list[Any]], made: Any, tmp_path: Path
) -> None:
    from kesikaran.metrics import binary
    from kesikaran.training import head_trainer

    words = [*made.words, "fit.epochs=20", "fit.patience=2"]
    make = benchmark["trainings"](benchmark["Place"](tmp_path, words), (0.0, 0.4), (0.3,))
    alone, together = make(), make()
    results = [benchmark["trained"](alone, together=False)[1], benchmark["trained"](together, together=True)[1]]
    assert train("-m", "head.dropout=0.0,0.4", "tracking.log_model=false", *words).code == 0
    logged = [run.data.metrics for run in runs() if "mlflow.parentRunId" in run.data.tags]
    for trainings, its in zip((alone, together), results, strict=True):
        assert [result.epochs for result in its] == [metrics["workings/epochs"] for metrics in logged]
        for training, result, metrics in zip(trainings, its, logged, strict=True):
            validation = training.every.take(training.validation)
            logits = head_trainer.predict(result.weights, validation.features)
            assert binary.log_loss(validation.labels, logits) == pytest.approx(metrics["validation/log_loss"], abs=1e-3)


def test_wrong_words_are_refused(script: Callable[..., Done], tmp_path: Path) -> None:
    done = script("benchmark", "--rounds", 0, "--only", "memory", "--out", tmp_path / "out")
    assert done.code == 1
    assert done.err == "error: --rounds 0 is not allowed: 1 or more\n"
    (tmp_path / "file").touch()
    done = script("benchmark", "--only", "memory", "--out", tmp_path / "file")
    assert done.code == 1
    assert done.err.startswith("error: the folder of --out")
