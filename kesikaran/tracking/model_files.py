"""The files of a model in MLflow, on this machine."""

import hashlib
from pathlib import Path

from mlflow.artifacts import download_artifacts

from kesikaran.core import files, paths
from kesikaran.tracking import models, run_store, store_file
from kesikaran.tracking.queries import Record


def of_run(record: Record) -> Path:
    """The folder of the model of a finished run.

    Raises:
        InputError: see `models.of_run`; or the files cannot be fetched.
    """
    with run_store.reading(f"the model of run {record.run_id}") as client:
        location = models.of_run(client, record).artifact_location
    return fetched(store_file.path_of(location) or location)


def fetched(place: Path | str) -> Path:
    """The folder of a model's files.

    Args:
        place: the folder itself, or the URI of a store on another machine. From there the files are fetched once, into
            the cache: the files of a model never change.

    Raises:
        InputError: they cannot be fetched, or the cache is full or not writable.
    """
    if isinstance(place, Path):
        return place
    target = paths.cache_dir() / "fetched" / hashlib.sha256(place.encode()).hexdigest()[:32]

    def fetch(fresh: Path) -> None:
        fresh.mkdir()
        with run_store.reading("a model's files"):
            download_artifacts(artifact_uri=place, dst_path=str(fresh))

    return files.build_once(target, "MLmodel", fetch)
