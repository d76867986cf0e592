"""What a sweep says of its jobs: the best, those as good, and the spread of seeds."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made

from kesikaran.analysis import seed_study, sweep_summary
from kesikaran.metrics import paired
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import sweep_figures


def jobs(**columns: list[Any]) -> pd.DataFrame:
    """Three finished jobs on one split, and what else is given."""
    count = len(next(iter(columns.values()))) if columns else 3
    made = {
        "run_id": [f"{i:032x}" for i in range(count)],
        "status": ["FINISHED"] * count,
        "split_fingerprint": ["a"] * count,
        "params.fit.monitor": ["loss"] * count,
        "params.split.fold": ["0"] * count,
    }
    return pd.DataFrame(made | columns)


LOSS, AUC = "metrics.validation/log_loss", "metrics.validation/roc_auc"


def test_the_best_is_chosen_on_validation_by_the_objective() -> None:
    values = {LOSS: [0.4, 0.3, np.nan], AUC: [0.9, 0.8, 0.85], "metrics.test/log_loss": [0.1, 0.9, 0.2]}
    assert sweep_summary.best(jobs(**values)) == sweep_summary.Best(1, "log_loss", [0, 2])
    assert sweep_summary.best(jobs(**values, **{"params.fit.monitor": ["auc"] * 3})) == sweep_summary.Best(
        0, "roc_auc", [1, 2]
    )


def test_only_finished_jobs_on_its_split_are_its_rivals() -> None:
    given = jobs(**{LOSS: [0.2, 0.3, 0.4, 0.1]}, split_fingerprint=["a", "a", "b", "a"])
    given.loc[3, "status"] = "FAILED"
    assert sweep_summary.best(given) == sweep_summary.Best(0, "log_loss", [1])
    assert sweep_summary.best(jobs(**{LOSS: [0.2, 0.3]}, **{"params.split.fold": ["0", "1"]})) is None, (
        "folds are no rivals"
    )
    assert sweep_summary.best(jobs(**{LOSS: [0.2, 0.3]}, status=["FAILED", "KILLED"])) is None
    assert sweep_summary.best(pd.DataFrame(columns=["run_id", "status"])) is None


def test_the_words_and_the_honest_line() -> None:
    given = jobs(**{LOSS: [0.2, 0.3, 0.4, 0.5, 0.6]}, **{"overrides.head.l2": ["0", "1", "2", "3", "4"]})
    given.loc[4, "split_fingerprint"] = "b"
    found = sweep_summary.best(given)
    assert found is not None
    p_values = pd.Series([np.nan, 0.05, 0.0501, 1e-9, np.nan])
    assert list(sweep_summary.against_best(found, p_values, 0.95)) == ["best", "0.05", "~", "< 0.0001", "-"]
    line = sweep_summary.best_sentence(given, found, p_values, 150, 0.95)
    assert line == (
        "The best of 5 by validation log loss (head.l2=0, run 00000000) is not distinguishable from 1 other on the "
        "150 test images: log loss, image by image, Holm over 3 comparisons at 5%."
    )
    assert "differs from every other" in sweep_summary.best_sentence(given, found, p_values * 0, 150, 0.95)
    assert "was not compared" in sweep_summary.best_sentence(given, found, p_values * np.nan, 150, 0.95)


@pytest.mark.parametrize(
    ("width", "larger"), [(0.4, "images"), (0.001, "seeds"), (0.1, "neither")], ids=["images", "seeds", "neither"]
)
def test_the_spread_of_seeds_by_hand(width: float, larger: str) -> None:
    values = np.array([0.80, 0.81, 0.82, 0.83, 0.84])  # standard deviation 0.0158
    given = jobs(
        **{
            "metrics.test/accuracy": list(values),
            "metrics.test/accuracy_low": list(values - width / 2),
            "metrics.test/accuracy_high": list(values + width / 2),
            "metrics.test/f1": [0.5] * 4 + [np.nan],
        }
    )
    spread = seed_study.seed_spread(given, 0.95)
    assert list(spread.index) == ["accuracy"], "one seed has no F1"
    row = spread.loc["accuracy"]
    assert row["mean"] == pytest.approx(0.82)
    assert row["std"] == pytest.approx(np.sqrt(0.001 / 4))
    # chi-squared of 4 degrees of freedom: 0.484419 and 11.143287 at 2.5 and 97.5 % (any table)
    assert row["std_low"] == pytest.approx(np.sqrt(0.001 / 11.143287))
    assert row["std_high"] == pytest.approx(np.sqrt(0.001 / 0.484419), rel=1e-5)
    assert row["standard_error"] == pytest.approx(width / (2 * 1.959964), rel=1e-6)
    assert row["larger"] == larger
    (line,) = seed_study.seed_sentences(spread, 5)
    assert line.startswith({"images": "The images are", "seeds": "The seeds are", "neither": "Which is"}[larger])


def test_a_sweep_is_of_seeds_where_nothing_else_varies() -> None:
    seeds = {"overrides.seed": ["0", "1"]}
    assert seed_study.of_seeds(jobs(**seeds))
    assert not seed_study.of_seeds(jobs(**seeds, **{"overrides.head.l2": ["0", "1"]}))
    assert not seed_study.of_seeds(jobs(**seeds, split_fingerprint=["a", "b"]))
    assert not seed_study.of_seeds(jobs(**seeds, status=["FINISHED", "FAILED"]))


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (["1e-4", "1e-2", "1e-3", "2e-3"], [0, 1, 0.5, 0.5 + np.log10(2) / 2]),
        (["1", "2", "5"], [0, 0.25, 1]),
        (["0", "1e-4", "1e-2"], [0, 0.5, 1]),
        (["b", "a", "b", "c"], [0, 0.5, 0, 1]),
        (["3"], [0.5]),
    ],
    ids=["by decades", "linear", "a zero among decades", "words", "one"],
)
def test_where_a_value_lies_on_its_axis(values: list[str], places: list[float]) -> None:
    assert sweep_figures._scale(values).positions == pytest.approx(places)


def test_a_sweep_compares_image_by_image_and_draws(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    import mlflow

    from kesikaran.tracking import artifacts

    words = [word for word in made.words if not word.startswith("optimizer.lr=")]
    varied = ["optimizer.lr=1e-4,3e-1", "head.dropout=0,0.3", "imbalance=none,class_weight"]
    done = train("-m", *words, *varied, "hydra/launcher=vectorized", "tracking.log_model=false")
    assert done.code == 0, done.err
    parent, *children = runs()
    table = pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/sweep.csv")))
    assert list(table.columns[2:5]) == ["optimizer.lr", "head.dropout", "imbalance"], "in the words of the sweep"
    best = int(table["validation/log_loss"].to_numpy().argmin())
    assert np.isnan(table["p_value_vs_best"][best])
    assert table["p_value_vs_best"].drop(best).between(0, 1).all()
    tested = []
    for child in children:
        rows = artifacts.predictions(child.info.run_id)
        tested.append(Predictions.from_table(rows[rows["split"] == "test"].sample(frac=1, random_state=0)))
    each = [paired.compare(tested[best], one)["log_loss"].p_value for one in tested if one is not tested[best]]
    assert table["p_value_vs_best"].min() == pytest.approx(7 * min(each)), "Holm's smallest of seven"
    assert f"run {table['run_id'][best][:8]})" in done.out.split("\nThe best of 8 by validation log loss")[1]
    for name in ("sweep.png", "parallel_coordinates.png"):
        mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/{name}")
    longest = max(len(line) for line in done.out.split("\nSweep ")[1].splitlines()[2:12])
    assert longest <= 140, "the table fits a terminal"


def test_seeds_as_one_command(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    import mlflow

    done = train("experiment=seeds", *made.words, "seed=range(0,4)")
    assert done.code == 0, done.err
    parent, *children = runs()
    assert [child.data.params["seed"] for child in children] == ["0", "1", "2", "3"]
    table = pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/seeds.csv")), index_col=0)
    for metric in ("accuracy", "roc_auc", "log_loss"):
        values = [child.data.metrics[f"test/{metric}"] for child in children]
        assert table.loc[metric, "std"] == pytest.approx(np.std(values, ddof=1))
        assert parent.data.metrics[f"seeds/{metric}_std"] == pytest.approx(np.std(values, ddof=1))
        assert parent.data.metrics[f"seeds/{metric}_mean"] == pytest.approx(np.mean(values))
    assert "4 seeds of one setting" in done.out
    assert "larger doubt" in done.out or "do not tell" in done.out
