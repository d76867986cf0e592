"""A real sweep under each engine: joblib, submitit's local executor, a Ray of this machine."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import make_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Made
from hydra.core.config_store import ConfigStore

from kesikaran.core import paths


def engine(package: str, *words: str) -> Any:
    missing = pytest.mark.skipif(find_spec(package) is None, reason=f"the extra {package} is not installed")
    return pytest.param(words, id=words[0], marks=missing)


@pytest.mark.parametrize(
    "launcher",
    [
        engine("joblib", "joblib", "hydra.launcher.n_jobs=2"),
        engine("submitit", "submitit_local", "hydra.launcher.n_jobs=2"),
        engine("ray", "ray", "hydra.launcher.memory_gb=1"),
    ],
)
def test_a_sweep_with_a_job_that_fails(launcher: tuple[str, ...], made: Made, tmp_path: Path) -> None:
    """Its jobs have a parent, the failed one says why on the terminal, and nothing is left lying about."""
    name, *options = launcher
    words = [f"hydra/launcher={name}", *options, *made.words, "head.dropout=0.1,2,0.3", "tracking.log_model=false"]
    work, store = tmp_path / "work", tmp_path / "store"
    work.mkdir()
    store.mkdir()
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}"}
    where["PYTHONPATH"] = str(paths.checkout())
    command = [sys.executable, "-m", "kesikaran.train", "-m", *words]
    done = subprocess.run(command, env=where, cwd=work, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: head.dropout=2.0 is not allowed: 0 to below 1") == 1
    assert "2 of 3 jobs finished, 1 failed\n" in done.stdout
    assert done.stdout.count("Features of 240 images") == 1, "a note on the data comes once, whichever process says it"
    lines = re.findall(r"^Job \d  head.dropout=\S+  accuracy 0\.\d+ \[.*\]  \d+\.\d s$", done.stdout, re.M)
    assert len(lines) == 2, "what the jobs print arrives"
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        runs = database.execute("select name, status from runs order by name").fetchall()
    assert runs == [
        ("head.dropout=0.1", "FINISHED"),
        ("head.dropout=0.3", "FINISHED"),
        ("head.dropout=2", "FAILED"),
        ("sweep: head.dropout=0.1,2,0.3", "FAILED"),
    ]
    assert list(work.iterdir()) == []
    left = paths.cache_dir() / "hydra"
    assert [path.name for path in left.glob("submitit-*")] == []


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.errors import HydraException

    from kesikaran.sweeps import workers

    monkeypatch.setattr(workers, "find_spec", lambda _: None)
    with pytest.raises(HydraException, match=r'pip install "kesikaran\[ray\]"'):
        workers.engine("ray")


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_plug_in_of_the_same_name_changes_nothing(name: str, train: Callable[..., Done]) -> None:
    """Hydra would check the option against that of the plug-in."""
    others = make_dataclass("Others", [("nodes", str, "many")])
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=others, provider="another plug-in")
    done = train("--cfg", "hydra", "--package", "hydra.launcher", f"hydra/launcher={name}")
    assert done.code == 0, done.err
    assert "engine: " in done.out
    assert "many" not in done.out


def test_a_number_of_processes_that_is_none_is_refused(train: Callable[..., Done], made: Made) -> None:
    done = train("-m", *made.words, "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=-1")
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        "error: hydra.launcher.n_jobs=-1 is not allowed: null, or at least 1",
    )
