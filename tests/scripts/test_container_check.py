"""The container's entry: a requested GPU that is not there ends it in one line; else it becomes the program."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kesikaran.core import paths

REPOSITORY = paths.checkout()
SHOW = ["--cfg", "job"]  # prints the configuration and trains nothing


def enter(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    assert REPOSITORY is not None
    command = [sys.executable, str(REPOSITORY / "scripts" / "container_check.py"), *words]
    where = {**os.environ, **environment}
    return subprocess.run(command, env=where, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.fixture(scope="module")
def no_gpu() -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("words", "environment", "request_named"),
    [
        (["device=gpu"], {}, "device=gpu"),
        (["experiment=debug"], {"NVIDIA_VISIBLE_DEVICES": "all"}, "NVIDIA_VISIBLE_DEVICES=all"),
    ],
    ids=["by a word", "by the runtime"],
)
def test_a_requested_gpu_that_is_not_there(
    words: list[str], environment: dict[str, str], request_named: str, no_gpu: None
) -> None:
    done = enter(*words, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"kesikaran: a GPU is requested ({request_named}) and TensorFlow sees none: run with")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ([], {"NVIDIA_VISIBLE_DEVICES": "void"}),
        (["device=cpu"], {"NVIDIA_VISIBLE_DEVICES": "all"}),
        ([], {"NVIDIA_VISIBLE_DEVICES": "all"}),
    ],
    ids=["none requested", "declined", "only shown"],
)
def test_it_becomes_the_program(words: list[str], environment: dict[str, str]) -> None:
    done = enter(*SHOW, *words, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data:\n  source: elpv")


def test_a_broken_tensorflow_is_not_taken_for_a_missing_gpu(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libfoo.so')")
    done = enter("device=gpu", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "TensorFlow does not start: ImportError: libfoo.so" in done.stderr


def test_the_image_is_made_of_all_that_the_wheel_takes() -> None:
    """What .dockerignore leaves out, the build in the image cannot pack: it let a whole package go once."""
    assert REPOSITORY is not None
    let_in = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"]} <= let_in
