"""A model belongs to its run, with the metrics of the run as a whole, or nothing of it is left."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model

from kesikaran.tracking import models, runs

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A model's folder with two files: its description and a SavedModel of which nothing may be copied."""
    (tmp_path / "template" / models.SAVED_MODEL).mkdir(parents=True)
    (tmp_path / "template" / models.SAVED_MODEL / "old").touch()
    (tmp_path / "template" / "further").write_text("kept")
    (tmp_path / "template" / models.CODE).mkdir()
    (tmp_path / "template" / models.CODE / "loader.py").write_text("kept too")
    (tmp_path / "template" / models.CODE / "loader.py").chmod(0o444)
    Model(flavors={"of a test": {"a": 1}}).save(str(tmp_path / "template" / "MLmodel"))
    return tmp_path / "template"


def test_a_model_is_its_runs_with_the_metrics_of_the_whole_run(template: Path, client: Any) -> None:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "new").write_bytes(b"12345")

    with runs.run("models", None, {"a": "1"}) as run:
        run.epoch(0, {"train/loss": 1.0})
        run.epoch(1, {"train/loss": 0.5})
        run.metrics({"test/accuracy": 0.75})
        run.model(template, write)
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    assert (model.status, model.source_run_id, model.experiment_id) == ("READY", run.run_id, run.experiment_id)
    assert model.params == {"a": "1"}
    assert {metric.key: metric.value for metric in model.metrics or []} == {"test/accuracy": 0.75}
    folder = Path(model.artifact_location.removeprefix("file://"))
    written_files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written_files >= {"MLmodel", "further", "code/loader.py"}
    assert (folder / "code" / "loader.py").stat().st_mode & 0o200, "it is the run's own"
    assert [path.name for path in (folder / models.SAVED_MODEL).iterdir()] == ["new"]
    assert [path.name for path in folder.parent.iterdir()] == ["artifacts"]
    written = Model.load(folder)
    assert (written.flavors, written.run_id, written.model_size_bytes) == ({"of a test": {"a": 1}}, run.run_id, 5)


def test_a_store_that_is_not_on_a_local_disk_gets_the_same_files(
    template: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow uploads them from the temporary folder, as to a server."""
    monkeypatch.setattr(models, "_local", lambda model: None)

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"0")

    with runs.run("models", None, {}) as run:
        run.model(template, write)
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert model.status == "READY"
    assert {path.name for path in folder.iterdir()} == {"MLmodel", "further", models.CODE, models.SAVED_MODEL}


@pytest.mark.parametrize("stopped", [OSError(28, "No space left on device"), SystemExit(143)], ids=["full", "SIGTERM"])
def test_half_a_model_is_removed(stopped: BaseException, template: Path, client: Any) -> None:
    there: list[Path] = []

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"0")
        there.append(folder)
        raise stopped

    with suppress(OSError, SystemExit), runs.run("models", None, {}) as run:
        run.metrics({"test/accuracy": 0.75})
        run.model(template, write)
    found = client.get_run(run.run_id)
    (output,) = found.outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    place = Path(model.artifact_location.removeprefix("file://"))
    assert there[0].is_relative_to(place.parent), "made where it stays"
    assert list(place.parent.iterdir()) == []
    assert model.status == "FAILED"
    assert found.info.status == ("KILLED" if isinstance(stopped, SystemExit) else "FAILED")
    assert found.data.metrics == {"test/accuracy": 0.75}


def test_a_model_that_cannot_be_called_ready_leaves_no_files(
    template: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full for the last row."""
    finalize = mlflow.MlflowClient.finalize_logged_model

    def full(self: Any, model_id: str, status: Any) -> Any:
        if status == LoggedModelStatus.READY:
            raise OSError(28, "No space left on device")
        return finalize(self, model_id, status)

    monkeypatch.setattr(mlflow.MlflowClient, "finalize_logged_model", full)
    with suppress(OSError), runs.run("models", None, {}) as run:
        run.model(template, lambda folder: folder.mkdir())
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    assert model.status == "FAILED"
    assert not Path(model.artifact_location.removeprefix("file://")).exists()
