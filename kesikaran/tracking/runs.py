"""Writing runs: a run is a `with` block, and however the block ends, the run does not stay RUNNING."""

import io
import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import entities
from mlflow.data import pandas_dataset
from mlflow.entities import LifecycleStage, Metric, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags

from kesikaran.core import scratch, terminal
from kesikaran.core.errors import InputError, without_password, without_passwords
from kesikaran.tracking import claims, context, liveness, models, run_rows, run_store, store_client
from kesikaran.tracking.artifact_writer import ArtifactWriter
from kesikaran.tracking.claims import FINGERPRINT_TAG, Claimed

_PAUSE_SECONDS = 1.0  # between two writes of metrics


class Run:
    """An open run. Its rows are written together, because each write to the store takes longer than many an epoch:
    params and inputs at once, and with the inputs the tags, so that a killed run has them; metrics of epochs at most
    once a second for all open runs of the process; metrics of the run as a whole, and later tags, with the model or at
    the run's end. Files are written at once.

    No password and no token is written: see `errors.without_password`."""

    _written_seconds = -math.inf  # of all runs of the process: those of a sweep are trained together

    def __init__(self, run_id: str, experiment_id: str, artifact_location: str):
        scratch.use()
        self.run_id, self.experiment_id = run_id, experiment_id
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
    return [Metric(name, value, now_ms, step) for name, value in metrics.items()]


@contextmanager
def run(
    experiment: str,
    name: str | None,
    params: dict[str, str],
    overrides: dict[str, str] | None = None,
    number: int | None = None,
    fingerprint: str | None = None,
    is_claim: bool = False,
    goes_on: bool = False,
) -> Iterator[Run]:
    """Open a run, log its params, and close the run however the block ends.

    The run ends as FINISHED; as FAILED, with the traceback as `traceback.txt`, when something was raised; as KILLED on
    a signal to stop. A run of a sweep is a child of the sweep's parent run, whose id is in `$KESIKARAN_SWEEP_ID`.
    Until it ends the run gives signs of life.

    Args:
        overrides: of the settings that the sweep varies, this run's values by name. number: its place among the jobs.
        fingerprint: of what the run is, where that is known. is_claim: the run is opened only where no other run with
            this fingerprint is at work or done. goes_on: a KILLED run with this fingerprint is opened again, if there
            is one, since the work goes on where it was stopped.

    Raises:
        Claimed: there is such a run. No run was opened then.
    """
    experiment_id = run_store.open_experiment(experiment)
    sweep_id = context.open_sweep_id()
    lineage = {"mlflow.parentRunId": sweep_id, context.SWEEP_TAG: sweep_id} if sweep_id else {}
    lineage |= {context.COMMAND_TAG: command} if (command := context.command()) else {}
    lineage |= {context.NUMBER_TAG: str(number)} if number is not None else {}
    lineage |= {context.OVERRIDES_TAG: json.dumps(without_passwords(overrides))} if overrides else {}
    lineage |= {FINGERPRINT_TAG: fingerprint} if fingerprint else {}
    client = store_client.client()
    opened = None
    try:
        with terminal.sheltered():
            tags = without_passwords({**resolve_tags(), **context.code_version(), **liveness.tags(), **lineage})
            claimed = fingerprint if is_claim else None
            again = fingerprint if goes_on else None
            info = _open(client, experiment_id, without_password(name) if name else name, tags, claimed, again)
            opened = Run(info.run_id, experiment_id, info.artifact_uri)
            if again:
                opened.go_on()
            opened.params(params)
        with liveness.beating(opened.run_id):
            yield opened
            opened.complete()
        terminal.stop_if_asked()
    except BaseException as error:
        # TensorFlow can turn the SystemExit of a signal into an exception of another type.
        killed = terminal.stop_asked() or isinstance(error, KeyboardInterrupt | SystemExit)
        if opened and _is_deleted(client, opened.run_id):
            raise InputError(f"run {opened.run_id} was deleted while it was at work: start it again") from None
        if opened:
            with terminal.sheltered():
                try:
                    opened.flush()
                    if not killed:
                        with suppress(InputError):  # of an artifact before
                            opened.text(traceback.format_exc(), "traceback.txt")
                    opened.give_up()
                finally:
                    client.set_terminated(opened.run_id, "KILLED" if killed else "FAILED")
        terminal.stop_if_asked()
        raise
    with terminal.sheltered():
        client.set_terminated(opened.run_id, "FINISHED")


def _is_deleted(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        with terminal.sheltered():
            return client.get_run(run_id).info.lifecycle_stage == LifecycleStage.DELETED
    except Exception:  # the error that is being told matters more
        return False


def _open(
    client: mlflow.MlflowClient,
    experiment_id: str,
    name: str | None,
    tags: dict[str, str],
    claimed: str | None,
    again: str | None,
) -> entities.RunInfo:
    """A new run, or one that was KILLED.

    Args:
        claimed: the fingerprint that no other run may have; see `claims`. again: that of the run to open again.
    """
    with run_store.alone() if claimed or again else nullcontext(False) as is_alone:
        if claimed and (twin := claims.twin(client, claimed)):
            raise Claimed(twin)
        killed = claims.interrupted(client, again, tags.get(context.SWEEP_TAG)) if again else None
        if killed:
            # The tags first: a RUNNING run with those of the dead process would be closed by any other command.
            client.log_batch(killed.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            client.update_run(killed.run_id, "RUNNING")
            info = client.get_run(killed.run_id).info
        else:
            info = client.create_run(experiment_id, tags=tags, run_name=name).info
    if claimed and not is_alone and (twin := claims.contest(client, info.run_id, claimed)):
        client.set_terminated(info.run_id, "KILLED")
        client.delete_run(info.run_id)
        raise Claimed(twin)
    return info
