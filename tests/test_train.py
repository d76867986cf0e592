"""The main job, as a person runs it: a process, a store, a model that loads elsewhere."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = """
import sys, pandas as pd, tensorflow as tf
folder, predictions, images = sys.argv[1:]
rows = pd.read_parquet(predictions)
assert "kesikaran" not in sys.modules
model = tf.saved_model.load(folder)
out = model.signatures["serving_default"](tf.constant([open(f"{images}/{n}", "rb").read() for n in rows.object_id]))
assert (out["label"].numpy() == (rows.logit >= 0)).all()
assert abs(out["logit"].numpy() - rows.logit).max() < 1e-3
print("the saved model agrees on", len(rows))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("train")
    return {
        **os.environ,
        "KESIKARAN_CACHE": str(root / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
    }


def train(environment: dict[str, str], *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kesikaran.train", *overrides]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_a_debug_run_leaves_a_model_that_gives_back_its_predictions(environment: dict[str, str]) -> None:
    done = train(environment, "experiment=debug")
    assert done.returncode == 0, done.stderr
    assert "Look at it:" in done.stdout
    root = Path(environment["KESIKARAN_CACHE"]).parent
    assert sqlite3.connect(root / "mlflow.db").execute("select status from runs").fetchall() == [("FINISHED",)]
    latest = dict(sqlite3.connect(root / "mlflow.db").execute("select key, value from latest_metrics"))
    for split in ("train", "validation", "test"):
        right = latest[f"{split}/tn"] + latest[f"{split}/tp"]
        assert latest[f"{split}/accuracy"] == pytest.approx(right / latest[f"{split}/n"])
    (model,) = root.glob("mlruns/elpv/models/*/artifacts/tf2model")
    (predictions,) = root.glob("mlruns/elpv/*/artifacts/predictions.parquet")
    assert {f"confusion_matrix_{s}.png" for s in ("train", "validation", "test")} < set(os.listdir(predictions.parent))
    (images,) = root.glob("cache/elpv/*/images")
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(model), str(predictions), str(images)],
        capture_output=True, text=True, cwd=root, timeout=300,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    assert "the saved model agrees on 300" in loaded.stdout


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.lrr=1", "valid ones are: optimizer.name, optimizer.lr"),
        ("optimizer=adm", "adamw"),
        ("optimizer.lr=fast", "optimizer.lr"),
        ("head.dropout=2", "head.dropout=2.0 is not allowed: 0 to below 1"),
        ("data=label_csv", "needs data.labels=PATH"),
    ],
)
def test_a_wrong_setting_is_one_line(environment: dict[str, str], override: str, says: str) -> None:
    done = train(environment, override)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
