"""The spread of metrics over seeds, by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kesikaran.analysis import seed_study


def jobs(**columns: Any) -> pd.DataFrame:
    """Finished jobs on one split."""
    return pd.DataFrame({"status": "FINISHED", "split_fingerprint": "a"} | columns)


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
