"""The fine-tuned path, as a person runs it: from the probe to a model that gives the logged probabilities."""

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made

pytestmark = pytest.mark.tensorflow

TUNE = ("finetune=probe_then_all", "finetune.epochs=3", "finetune.lr=0.01", "finetune.batch_size=16")


def predictions(run: Any) -> pd.DataFrame:
    from kesikaran.tracking import artifacts

    return artifacts.predictions(run.info.run_id)


def test_a_fine_tuned_run_is_judged_and_its_model_gives_its_probabilities(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], client: Any
) -> None:
    done = train(*made.words, *TUNE, "decision=tuned", "decision.temperature=true")
    assert done.code == 0, done.err
    assert "Fine-tuning 4 of 4 variables, 1,233 of 1,233 weights, on " in done.out
    (run,) = runs()
    history = {name: client.get_metric_history(run.info.run_id, name) for name in ("train/loss", "validation/loss")}
    for values in history.values():
        assert [value.step for value in values] == list(range(8)), "the probe's epochs, then those of fine-tuning"
    assert run.data.metrics["epochs"] == 8
    assert run.data.metrics["best_epoch"] >= 5, "fine-tuning brings nothing here: the test shows less than it should"
    rows = predictions(run)
    encoded = [(made.images / name).read_bytes() for name in rows["object_id"]]
    served = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert served.predict(np.array(encoded, object)) == pytest.approx(rows["probability"].to_numpy(), abs=1e-5)
