"""The predictions of several runs are aligned image by image, or refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kesikaran.analysis import run_predictions
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.core.errors import InputError


def run(number: int, split: str = "test", **columns: Any) -> RunPredictions:
    """A run on four images, whose rows come in an order of its own."""
    names = [f"{i:040x}.png" for i in range(4)]
    rows = pd.DataFrame({"object_id": names, "split": "test", "label": [0, 1, 0, 1], "logit": [-2.0, 2.0, -1.0, 1.0]})
    rows = rows.assign(**columns).sample(frac=1, random_state=number)
    return run_predictions.run_predictions(f"{number:032x}", f"n{number}", {}, {}, rows, split)


def test_a_run_before_the_settings_of_its_evaluation_has_their_defaults() -> None:
    def scored(**params: str) -> RunPredictions:
        return RunPredictions("r", "n", {}, {f"evaluation.{key}": value for key, value in params.items()}, None)  # type: ignore[arg-type]

    older, same = scored(), scored(confidence="0.95", calibration_bins="10")
    other = scored(confidence="0.9", calibration_bins="15")
    assert run_predictions.evaluation(older) == run_predictions.evaluation(same)
    assert run_predictions.evaluation_remarks([older, same]) == []
    (remark,) = run_predictions.evaluation_remarks([other, same, other])
    assert remark.startswith(
        "evaluation.confidence=0.9, evaluation.calibration_bins=15 and evaluation.verdict=accuracy are "
    )


def test_rows_are_aligned_and_groups_of_one_run_hold_for_all() -> None:
    grouped = run(2, group=["a", "a", "b", "b"], logit=[1.0, 2.0, 3.0, 4.0])
    a, b, c = run_predictions.aligned([run(1), grouped, run(3, group=[7, 7, 9, 9])], "test")
    assert a.labels.tolist() == b.labels.tolist() == [0, 1, 0, 1]
    assert (a.logits.tolist(), b.logits.tolist()) == ([-2.0, 2.0, -1.0, 1.0], [1.0, 2.0, 3.0, 4.0])
    for each in (a, b, c):
        assert each.groups is not None
        assert each.groups.tolist() == ["a", "a", "b", "b"]
        assert run_predictions.group_count(each) == 2
    assert run_predictions.group_count(run_predictions.aligned([run(1), run(2)], "test")[1]) is None


def test_weights_of_one_run_hold_for_all_and_others_are_refused() -> None:
    weighted = run(2, weight=[0.5, 1.0, 1.0, 0.25])
    for each in run_predictions.aligned([run(1), weighted, run(3, weight=[0.5, 1.0, 1.0, 0.25])], "test"):
        assert each.weights is not None
        assert each.weights.tolist() == [0.5, 1.0, 1.0, 0.25]
    with pytest.raises(InputError, match=r"give different weights to the images \(data.weight\)"):
        run_predictions.aligned([weighted, run(3, weight=[0.5, 1.0, 1.0, 1.0])], "test")
    assert run_predictions.aligned([run(1), run(2)], "test")[0].weights is None


def test_names_in_another_case_are_the_same_images() -> None:
    names = [digit * 40 + ".png" for digit in "abcd"]
    capitals = [name.upper() if i % 2 else name for i, name in enumerate(names)]
    first = run(1, object_id=names, logit=[1.0, 2.0, 3.0, 4.0], group=["x", "x", "y", "y"])
    a, b = run_predictions.aligned([first, run(2, object_id=capitals, group=["Z", "Z", "Y", "Y"])], "test")
    assert (a.logits.tolist(), b.logits.tolist()) == ([1.0, 2.0, 3.0, 4.0], [-2.0, 2.0, -1.0, 1.0])
    assert a.labels.tolist() == b.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"object_id": [f"{i:040x}.png" for i in (0, 1, 2, 9)]},
            "not scored on the same test images: 1 only in the first",
        ),
        ({"label": [0, 1, 1, 1]}, "give different labels to 1 of 4 test images"),
        ({"group": ["a", "b", "a", "b"]}, "keep different images together: their groups differ"),
    ],
    ids=["images", "labels", "groups"],
)
def test_runs_that_cannot_be_aligned_are_refused(columns: dict[str, Any], message: str) -> None:
    first = run(1, group=["a", "a", "b", "b"]) if "group" in columns else run(1)
    with pytest.raises(InputError, match=message):
        run_predictions.aligned([first, run(2, **columns)], "test")


def test_a_split_without_images_and_an_image_twice_are_refused() -> None:
    with pytest.raises(InputError, match=r"run 0{31}1 \(n1\) has no image in its validation split"):
        run(1, "validation")
    with pytest.raises(InputError, match="the table names an image twice"):
        run(1, object_id=np.repeat([f"{i:040x}.png" for i in range(2)], 2))
    with pytest.raises(InputError, match="the table holds the folds of several settings"):
        run(1, "oof", object_id=np.repeat([f"{i:040x}.png" for i in range(2)], 2))


def test_other_data_is_the_reason_for_other_images() -> None:
    other = run(2, object_id=[f"{i:040x}.png" for i in (0, 1, 2, 9)])
    first = run(1)
    first.fingerprints["data_digest"] = "d"
    with pytest.raises(InputError, match=r"Labels were corrected or images added between them, which moves images"):
        run_predictions.aligned([first, other], "test")
