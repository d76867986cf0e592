"""Writing runs: a run is a `with` block; nothing it does leaves a run RUNNING. `queries` reads them."""

import json
import math
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import pandas as pd
from mlflow import entities
from mlflow.data import pandas_dataset
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
from mlflow.models import Model
from mlflow.tracking.context.registry import resolve_tags

from kesikaran.core import terminal
from kesikaran.tracking import context, run_store
from kesikaran.tracking.models import SAVED_MODEL

_PAUSE_SECONDS = 1.0  # between two writes of metrics
_BATCH_METRICS = 1000  # MLflow's limit for one call


class Run:
    """An open run. All is written at once, so that a killed run keeps what it had; metrics at most once a second, since
    a write takes longer than many an epoch: the last wait for the next ones, for the model or for the end."""

    def __init__(self, run_id: str, experiment_id: str):
        self.run_id, self.experiment_id = run_id, experiment_id
        self._client = mlflow.MlflowClient()  # not MLflow's one active run: several may be open at once
        self._unwritten: list[Metric] = []
        self._final: list[Metric] = []
        self._written_seconds = -math.inf

    @terminal.sheltered()
    def tags(self, tags: dict[str, str]) -> None:
        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def epoch(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of an epoch."""
        self._note(step, metrics)

    def metrics(self, metrics: dict[str, float]) -> None:
        """Metrics of the run as a whole, and of its model."""
        self._final += self._note(0, metrics)

    def _note(self, step: int, metrics: dict[str, float]) -> list[Metric]:
        now_ms = time.time_ns() // 1_000_000
        noted = [Metric(name, value, now_ms, step) for name, value in metrics.items()]
        self._unwritten += noted
        if time.monotonic() - self._written_seconds >= _PAUSE_SECONDS:
            self.flush()
        return noted

    @terminal.sheltered()
    def flush(self) -> None:
        """Write the metrics that are waiting."""
        metrics, self._unwritten = self._unwritten, []
        for start in range(0, len(metrics), _BATCH_METRICS):
            self._client.log_batch(self.run_id, metrics[start : start + _BATCH_METRICS])
        self._written_seconds = time.monotonic()

    @terminal.sheltered()
    def dataset(self, rows: pd.DataFrame, name: str, source: Path, digest: str, context: str) -> None:
        """Log `rows` (column `label`) as an input of the run. digest: at most 36 characters that name them."""
        data = pandas_dataset.from_pandas(rows, source=str(source), name=name, targets="label", digest=digest)
        entity = entities.Dataset(**data.to_dict())
        tag = entities.InputTag("mlflow.data.context", context)
        self._client.log_inputs(self.run_id, [entities.DatasetInput(entity, [tag])])

    @terminal.sheltered()
    def figure(self, figure: Any, name: str) -> None:
        self._client.log_figure(self.run_id, figure, name)

    @terminal.sheltered()
    def json(self, content: dict[str, Any], name: str) -> None:
        self._client.log_dict(self.run_id, content, name)

    @terminal.sheltered()
    def text(self, content: str, name: str) -> None:
        self._client.log_text(self.run_id, content, name)

    @terminal.sheltered()
    def parquet(self, table: pd.DataFrame, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            table.to_parquet(path, index=False)
            self._client.log_artifact(self.run_id, str(path))

    @terminal.sheltered()
    def model(self, template: Path, write: Callable[[Path], None]) -> None:
        """Log a model made of `template`, a folder of `save_model`; `write(folder)` writes its SavedModel."""
        self.flush()  # saving takes time, and a kill meanwhile must not take the numbers
        pattern = Model.load(template)

        def save(path: str, mlflow_model: Model) -> None:
            shutil.copytree(template, path, ignore=shutil.ignore_patterns(SAVED_MODEL))
            write(Path(path) / SAVED_MODEL)
            mlflow_model.flavors, mlflow_model.signature = pattern.flavors, pattern.signature
            mlflow_model.run_id = self.run_id
            files = [file for file in (Path(path) / SAVED_MODEL).rglob("*") if file.is_file()]
            mlflow_model.model_size_bytes = sum(file.stat().st_size for file in files)
            mlflow_model.save(str(Path(path) / "MLmodel"))

        # As mlflow.tensorflow.log_model does, but for the saving; and the model is made here, or without an active
        # run it would belong to another experiment. Its metrics are told here: told the run, MLflow would read the
        # history of each, a fifth of a second, and take the first epoch's for the model's.
        model = self._client.create_logged_model(
            self.experiment_id,
            "model",
            source_run_id=self.run_id,
            params=self._client.get_run(self.run_id).data.params,
        )
        flavor = SimpleNamespace(save_model=save)
        try:
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
            named = {"run_id": self.run_id, "model_id": model.model_id}
            metrics = [Metric(m.key, m.value, m.timestamp, m.step, **named) for m in self._final]
            self._client.log_batch(self.run_id, metrics)
            Model.log(artifact_path=None, name="model", flavor=flavor, model_id=model.model_id)
        except BaseException:
            # Half a model is of no use, and on a full disk there would be no room to say that the run has failed.
            location = urlsplit(model.artifact_location)
            if location.scheme == "file":
                shutil.rmtree(url2pathname(location.path), ignore_errors=True)
            raise


@contextmanager
def run(
    experiment: str, name: str | None, params: dict[str, str], overrides: dict[str, str] | None = None
) -> Iterator[Run]:
    """Open a run, log its params, close it whatever happens.

    FINISHED; FAILED with the traceback as `traceback.txt` when something was raised; KILLED on Ctrl-C
    and SIGTERM. A sweep's run is a child: its parent's id is in `$KESIKARAN_SWEEP_ID`, and `overrides` are what it
    has of what the sweep varies.
    """
    experiment_id = run_store.open_experiment(experiment)
    sweep_id = context.open_sweep_id()
    lineage = {"mlflow.parentRunId": sweep_id, context.SWEEP_TAG: sweep_id} if sweep_id else {}
    lineage |= {context.OVERRIDES_TAG: json.dumps(overrides)} if overrides else {}
    client = mlflow.MlflowClient()
    opened = None
    try:
        with terminal.sheltered():
            tags = {**resolve_tags(), **context.code_version(), **lineage}
            opened = Run(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id, experiment_id)
            client.log_batch(opened.run_id, params=[Param(key, value) for key, value in params.items()])
        yield opened
        opened.flush()
        terminal.stop_if_asked()
    except BaseException as error:
        # What was raised may be what TensorFlow made of a signal to stop.
        killed = terminal.stop_asked() or isinstance(error, KeyboardInterrupt | SystemExit)
        if opened:
            with terminal.sheltered():
                try:
                    opened.flush()
                    if not killed:
                        opened.text(traceback.format_exc(), "traceback.txt")
                finally:
                    client.set_terminated(opened.run_id, "KILLED" if killed else "FAILED")
        terminal.stop_if_asked()
        raise
    with terminal.sheltered():
        client.set_terminated(opened.run_id, "FINISHED")
