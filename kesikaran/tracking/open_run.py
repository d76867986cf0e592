"""A run that is open: what is written into it, and when."""

import io
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import entities
from mlflow.data import pandas_dataset
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from kesikaran.core import scratch, terminal
from kesikaran.core.errors import InputError, without_password, without_passwords
from kesikaran.tracking import metric_places, models, run_rows, run_store, store_client
from kesikaran.tracking.artifact_writer import ArtifactWriter
from kesikaran.tracking.run_rows import NOTE_TAG

_LONGEST_NOTE = 7900  # characters
_PAUSE_SECONDS = 1.0  # between two writes of metrics


class Run:
    """An open run. Its rows are written together, because each write to the store takes longer than many an epoch:
    params and inputs at once, and with the inputs the tags, so that a killed run has them; metrics of epochs at most
    once a second for all open runs of the process; metrics of the run as a whole, and later tags, with the model or at
    the run's end. Files are written at once.

    No password and no token is written: see `errors.without_password`."""

    _written_seconds = -math.inf  # of all runs of the process: those of a sweep are trained together

    def __init__(self, run_id: str, experiment_id: str, artifact_location: str, name: str):
        scratch.use()
        self.run_id, self.experiment_id, self.name = run_id, experiment_id, name
        self._client = store_client.client()  # not MLflow's one active run: several may be open at once
        self._artifacts = ArtifactWriter(artifact_location)
        self._params: dict[str, str] = {}
        self._pictures: list[tuple[Callable[[], bytes], str]] = []
        self._tags: dict[str, str] = {}
        self._epochs: list[Metric] = []
        self._final: list[Metric] = []
        self._known_params: dict[str, str] = {}
        self._known_epoch = -1

    @terminal.sheltered()
    def params(self, params: dict[str, str]) -> None:
        self._params = {key: without_password(value) for key, value in params.items()}
        self._log([], {key: value for key, value in self._params.items() if key not in self._known_params}, {})

    def tags(self, tags: dict[str, str]) -> None:
        self._tags |= {key: without_password(value) for key, value in tags.items()}

    def note(self, markdown: str) -> None:
        """What the run's page in MLflow says first, at most 7,900 characters of it, for MLflow keeps no more."""
        self._tags |= {NOTE_TAG: without_password(markdown)[:_LONGEST_NOTE]}

    @terminal.sheltered()
    def go_on(self) -> None:
        """Write nothing a second time that the run has from before it was stopped: params, which cannot change, and
        epochs, whose metrics would get two values."""
        self._known_params = self._client.get_run(self.run_id).data.params
        known = self._client.get_metric_history(self.run_id, "train/loss")
        self._known_epoch = max((metric.step for metric in known), default=-1)

    def epoch(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of an epoch."""
        if step <= self._known_epoch:
            return
        self._epochs += _noted(step, metrics)
        if time.monotonic() - Run._written_seconds >= _PAUSE_SECONDS:
            with terminal.sheltered():
                metrics_of_epochs, self._epochs = self._epochs, []
                self._write(metrics_of_epochs)

    def metrics(self, metrics: dict[str, float]) -> None:
        """Metrics of the run as a whole. They become metrics of its model too."""
        self._final += _noted(0, metrics)

    @terminal.sheltered()
    def flush(self) -> None:
        """Write the metrics and tags that are waiting."""
        metrics, self._epochs, self._final = self._epochs + self._final, [], []
        self._write(metrics)

    def _write(self, metrics: list[Metric]) -> None:
        tags, self._tags = self._tags, {}
        self._log(metrics, {}, tags)
        Run._written_seconds = time.monotonic()

    def _log(self, metrics: list[Metric], params: dict[str, str], tags: dict[str, str]) -> None:
        database = run_store.file()
        if not (database and run_rows.write(database, self.run_id, self.experiment_id, metrics, params, tags)):
            self._client.log_batch(
                self.run_id,
                metrics,
                [Param(key, value) for key, value in params.items()],
                [RunTag(key, value) for key, value in tags.items()],
            )

    @terminal.sheltered()
    def inputs(self, rows: dict[str, tuple[pd.DataFrame, str]], name: str, source: Path) -> None:
        """Log inputs of the run, and the tags that are waiting.

        Args:
            rows: what an input is for, such as a split -> its rows, with a column `label`, and at most 36 characters
                that name them.
        """
        self._write([])
        place = without_password(str(source))
        inputs = []
        for purpose, (own, digest) in rows.items():
            entity = _dataset(_Rows(name, place, digest, own))
            inputs.append(entities.DatasetInput(entity, [entities.InputTag("mlflow.data.context", purpose)]))
        try:
            self._client.log_inputs(self.run_id, inputs)
        except MlflowException as failed:
            # MLflow refuses the later of two jobs that are both the first to log a data set. The second try finds its
            # rows there.
            if "unique constraint" not in str(failed).lower():
                raise
            self._client.log_inputs(self.run_id, inputs)

    @terminal.sheltered()
    def figure(self, figure: Any, name: str) -> None:
        content = io.BytesIO()
        figure.savefig(content, format=Path(name).suffix[1:])
        self._artifacts.write(name, content.getvalue())

    def picture(self, png: Callable[[], bytes], name: str) -> None:
        """A picture. png: gives the bytes of its file; it is asked at the end of the run, since it may be drawn
        elsewhere meanwhile."""
        self._pictures.append((png, name))

    @terminal.sheltered()
    def png(self, content: bytes, name: str) -> None:
        """A picture that is drawn. content: of its file."""
        self._artifacts.write(name, content)

    @terminal.sheltered()
    def json(self, content: dict[str, Any], name: str) -> None:
        self._artifacts.write(name, json.dumps(without_passwords(content), indent=2, default=str).encode())

    @terminal.sheltered()
    def text(self, content: str, name: str) -> None:
        self._artifacts.write(name, without_password(content).encode())

    @terminal.sheltered()
    def parquet(self, table: pd.DataFrame, name: str) -> None:
        self._artifacts.write(name, table.to_parquet(index=False))

    @terminal.sheltered()
    def folder(self, source: Path, name: str) -> None:
        """Every file of the folder `source`, as one of the folder `name`."""
        for path in sorted(source.rglob("*")):
            if path.is_file():
                self._artifacts.write(f"{name}/{path.relative_to(source).as_posix()}", path.read_bytes())

    @terminal.sheltered()
    def model(self, template: Path, write: Callable[[Path], None]) -> None:
        """Log a model of `template` as the run's: see `models.save_files`."""
        with models.logged_model(self.run_id, self.experiment_id, self._params) as logged:
            ids = {"run_id": self.run_id, "model_id": logged.model_id}
            self._final = [Metric(m.key, m.value, m.timestamp, m.step, **ids) for m in self._final]
            self.flush()  # saving takes time, and a kill meanwhile must not take the numbers
            models.save_files(logged, template, write)

    def complete(self) -> None:
        """Write what is waiting, pictures that are being drawn too, and wait for the artifacts that are on their way to
        a server. A signal ends the wait.

        Raises:
            InputError: an artifact could not be written; says which and why.
        """
        self._write_pictures()
        self.flush()
        self._artifacts.wait()

    @terminal.sheltered()
    def _write_pictures(self) -> None:
        pictures, self._pictures = self._pictures, []
        for png, name in pictures:
            self._artifacts.write(name, png())

    def give_up(self) -> None:
        """After an error or a signal: what `complete` does for pictures and artifacts, and none is sent any more.
        Nothing is raised, because the run has failed already."""
        with suppress(Exception):
            self._write_pictures()
        with suppress(InputError):
            self._artifacts.wait()
        self._artifacts.close()


@dataclass(frozen=True)
class _Rows:
    """Rows that `digest` names."""

    name: str
    place: str
    digest: str
    rows: pd.DataFrame = field(compare=False)


@lru_cache(maxsize=12)  # the splits of four runs: those of the jobs of a sweep are the same, and each takes 20 ms
def _dataset(of: _Rows) -> entities.Dataset:
    data = pandas_dataset.from_pandas(of.rows, source=of.place, name=of.name, targets="label", digest=of.digest)
    return entities.Dataset(**data.to_dict())


def _noted(step: int, metrics: dict[str, float]) -> list[Metric]:
    now_ms = time.time_ns() // 1_000_000
    return [Metric(metric_places.stored(name), value, now_ms, step) for name, value in metrics.items()]
