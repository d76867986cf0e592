"""The fine-tuned path, as a person runs it: from the probe to a model that gives the logged probabilities."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made, one_line, toy_backbone
from PIL import Image, ImageOps

from kesikaran.config.metric_names import OBJECTIVE
from kesikaran.config.schema import Monitor

pytestmark = pytest.mark.tensorflow

TUNE = ("finetune=probe_then_all", "finetune.epochs=3", "finetune.lr=0.01", "finetune.batch_size=16")


def predictions(run: Any) -> pd.DataFrame:
    from kesikaran.tracking import artifacts

    return artifacts.predictions(run.info.run_id)


def test_a_fine_tuned_run_is_judged_and_its_model_gives_its_probabilities(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], client: Any
) -> None:
    import tensorflow as tf

    done = train(*made.words, *TUNE, "decision=tuned", "decision.temperature=true")
    assert done.code == 0, done.err
    assert "Fine-tuning 4 of 4 variables, 1,233 of 1,233 weights, on " in done.out
    (run,) = runs()
    history = {name: client.get_metric_history(run.info.run_id, name) for name in ("train/loss", "validation/loss")}
    for values in history.values():
        assert [value.step for value in values] == list(range(8)), "the probe's epochs, then those of fine-tuning"
    assert run.data.metrics["workings/epochs"] == 8
    best = run.data.metrics["workings/best_epoch"]
    assert best >= 5, "fine-tuning brings nothing here: the test shows less than it should"
    rows = predictions(run)
    encoded = [(made.images / name).read_bytes() for name in rows["object_id"]]
    served = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    answer = served.predict(np.array(encoded, object))
    assert answer["probability"].to_numpy() == pytest.approx(rows["probability"].to_numpy(), abs=1e-5)
    assert answer["label"].tolist() == rows["predicted"].tolist()
    folder = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model")
    given = tf.saved_model.load(f"{folder}/tf2model").signatures["serving_default"](tf.constant(encoded))
    assert list(given["label"].numpy()) == list(rows["predicted"])
    assert abs(run.data.metrics["workings/decision/threshold"]) > 0.05, "a threshold of 0 would prove nothing"
    assert (rows["predicted"] != (rows["probability"] >= 0.5)).any()


def test_a_tuned_backbone_is_a_backbone(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    from kesikaran.models import backbone

    assert train(*made.words, *TUNE, "finetune.epochs=1").code == 0
    (run,) = runs()
    folder = Path(run.info.artifact_uri.removeprefix("file://")) / "backbone"
    words = [word for word in made.words if not word.startswith("backbone.handle")]
    done = train(*words, f"backbone.handle={folder}", *TUNE, "finetune.epochs=1")
    assert done.code == 0, done.err
    second = runs()[1]
    assert second.data.tags["backbone_digest"] == run.data.tags["tuned_backbone_digest"]
    assert second.data.tags["backbone_digest"] != run.data.tags["backbone_digest"]
    assert second.data.tags["backbone_digest"] == backbone.load(str(folder), 32).digest


def test_a_killed_run_goes_on_from_its_checkpoint_which_goes_when_a_run_is_finished(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch, client: Any
) -> None:
    from kesikaran.core import paths
    from kesikaran.training.checkpoint import Checkpoint

    words = (*made.words, *TUNE, "tracking.log_model=false", "seed=5")
    save = Checkpoint.save

    def killed(checkpoint: Any, state: Any) -> None:
        save(checkpoint, state)
        if len(state.history) == 2:
            raise SystemExit(143)

    folder = paths.cache_dir() / "finetune"
    others = set(folder.glob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", killed)
        assert train(*words).code == 143
    (made_now,) = set(folder.glob("*")) - others
    assert (made_now / "checkpoint.npz").is_file()
    done = train(*words)
    assert done.code == 0, done.err
    assert "Going on after epoch 2 of 3, where a run was stopped." in done.out
    assert set(folder.iterdir()) == others
    (run,) = runs()
    assert run.info.status == "FINISHED"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "validation/loss")]
    assert steps == list(range(8)), "each epoch once"


def test_what_cannot_be_trained_is_refused_before_the_probe(
    train: Callable[..., Done], made: Made, together: list[int]
) -> None:
    many = train(*made.words, *TUNE, "finetune.batch_size=209")
    blocks = train(*made.words, *TUNE, "finetune=last_blocks", "finetune.blocks=2")
    for done, says in ((many, "there are 208 images to train on"), (blocks, "the backbone has 1")):
        assert done.code == 1
        assert says in done.err
        assert one_line(done.err.removesuffix("\n"))
    assert together == []


def test_jobs_whose_probes_are_trained_together_are_tuned_each_alone(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], together: list[int]
) -> None:
    words = ("-m", "hydra/launcher=vectorized", "tracking.log_model=false", "finetune=none,probe_then_all,all")
    done = train(*made.words, *words)
    assert done.code == 0, done.err
    assert together == [3]
    jobs = [run for run in runs() if "mlflow.parentRunId" in run.data.tags]
    assert len({run.data.tags["mlflow.parentRunId"] for run in jobs}) == 1
    epochs = [(run.data.params["finetune.trains"], run.data.metrics["workings/epochs"]) for run in jobs]
    assert sorted(epochs) == [("all", 19), ("all", 19), ("none", 5)]
    first, second, third = (predictions(run)["logit"].to_numpy() for run in jobs)
    assert min(np.abs(first - second).max(), np.abs(second - third).max(), np.abs(first - third).max()) > 1e-4


@pytest.mark.parametrize("gains", [True, False])
def test_validation_chooses_whether_the_mean_of_the_views_is_judged(
    gains: bool,
    train: Callable[..., Done],
    made: Made,
    runs: Callable[[], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kesikaran.training import finetune

    monkeypatch.setattr(finetune, "objective_of", lambda _, views: 0.4 if gains == (len(views) == 1) else 0.3)
    done = train(*made.words, *TUNE, "finetune.epochs=1", "augment=flips")
    assert done.code == 0, done.err
    judged = "the mean of 2 views" if gains else "the image as it is, not the mean of its views"
    assert f"Judged is {judged}: on validation its loss is smaller (0.300 against 0.400)." in done.out
    (run,) = runs()
    rows = predictions(run)
    encoded = [(made.images / name).read_bytes() for name in rows["object_id"]]
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    served = model.predict(encoded)["probability"]
    assert served.to_numpy() == pytest.approx(rows["probability"].to_numpy(), abs=1e-5)
    turned = model.predict([mirrored(one) for one in encoded])["probability"]
    assert np.allclose(turned, served, atol=1e-5) == gains, "the mean of both views is that of the mirrored image"


def mirrored(encoded: bytes) -> bytes:
    sink = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(encoded))).save(sink, "PNG")
    return sink.getvalue()


def test_a_probe_has_the_settings_of_a_run_or_of_the_best_job_of_a_sweep(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    quick = [*made.words, "tracking.log_model=false"]
    assert train("-m", *quick, "head.l2=0.3,0.0001", "imbalance=class_weight").code == 0
    jobs = [run for run in runs() if "mlflow.parentRunId" in run.data.tags]
    sweep = jobs[0].data.tags["mlflow.parentRunId"]
    best = min(jobs, key=lambda run: run.data.metrics[f"validation/{OBJECTIVE[Monitor.loss].name}"])
    assert best.data.params["head.l2"] == "0.0001"
    words = [word for word in quick if not word.startswith(("fit.", "optimizer."))]
    for named, typed in ((sweep, []), (jobs[0].info.run_id, ["optimizer.lr=0.2"])):
        done = train(*words, *TUNE, "finetune.epochs=1", f"finetune.from_run={named}", *typed)
        assert done.code == 0, done.err
    of_best, of_worst = [
        run.data.params for run in runs() if run.data.params.get("finetune.from_run", "None") != "None"
    ]
    assert of_best["finetune.from_run"] == best.info.run_id
    assert of_worst["finetune.from_run"] == jobs[0].info.run_id
    settings = ("head.l2", "optimizer.lr", "fit.epochs", "imbalance.strategy")
    assert [of_best[name] for name in settings] == ["0.0001", "0.3", "5", "class_weight"]
    assert [of_worst[name] for name in settings] == ["0.3", "0.2", "5", "class_weight"]


def test_a_run_whose_probe_cannot_be_had_is_one_line(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    quick = [*made.words, "tracking.log_model=false"]
    assert train(*quick).code == 0
    (run,) = runs()
    for words, line in (
        ([TUNE[0], "finetune.from_run=nosuch"], "error: there is no run nosuch in "),
        (
            [TUNE[0], f"finetune.from_run={run.info.run_id}", "backbone.image_size=40"],
            f"error: finetune.from_run={run.info.run_id} is not allowed: its probe is of backbone.image_size=32, this "
            "run has 40; give backbone.image_size as the run has it",
        ),
        ([f"finetune.from_run={run.info.run_id}"], "error: finetune.from_run="),
    ):
        done = train(*quick, *words)
        assert done.code == 1
        (said,) = [text for text in done.err.splitlines() if text.startswith("error: ")]
        assert said.startswith(line)
        assert one_line(said)


@pytest.mark.parametrize(
    ("damaged", "why"), [("backbone: 5\n", "it has no group backbone"), ("head: [\n", "it is no plain YAML")]
)
def test_a_stranger_s_configuration_is_one_line(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], damaged: str, why: str
) -> None:
    assert train(*made.words, "tracking.log_model=false").code == 0
    (run,) = runs()
    (Path(run.info.artifact_uri.removeprefix("file://")) / "config.yaml").write_text(damaged)
    done = train(*made.words, TUNE[0], f"finetune.from_run={run.info.run_id}")
    assert done.code == 1
    assert f"error: config.yaml of run {run.info.run_id} is damaged: {why}" in done.err
    assert "Traceback" not in done.err


def test_a_sweep_over_both_paths_may_set_what_one_of_them_reads(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    words = ["finetune=none,batchnorm", "finetune.epochs=1", "finetune.lr=0.01", "finetune.batch_size=16"]
    folder = toy_backbone(tmp_path / "normed", norm=True)
    done = train("-m", *made.words, f"backbone.handle={folder}", *words, "tracking.log_model=false")
    assert done.code == 0, done.err
    assert "2 of 2 jobs finished" in done.out
    params = {run.data.params["finetune.trains"]: run.data.params["finetune.epochs"]
              for run in runs() if "mlflow.parentRunId" in run.data.tags}  # fmt: skip
    assert params == {"none": "14", "batchnorm": "1"}
