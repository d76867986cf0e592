"""The feature matrix lies in memory or, where it is large, in a file that nobody else sees."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kesikaran.core.errors import InputError
from kesikaran.features import matrix


def test_a_large_matrix_is_mapped_to_a_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "_IN_MEMORY_BYTES", 400)
    for images, kind in ((10, np.ndarray), (11, np.memmap)):
        made = matrix.empty_matrix(images, 10, tmp_path)
        assert type(made) is kind
        assert (made.shape, made.dtype) == ((images, 10), np.float32)
        made[:] = np.arange(10)
        assert made.sum() == 45 * images
        assert os.listdir(tmp_path) == []


def test_no_room_for_a_large_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "_IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    assert matrix.empty_matrix(240, 10, tmp_path).nbytes == 9600
    with pytest.raises(InputError, match="has no room for the matrix of 240 images: it needs"):
        matrix.empty_matrix(240, 16, tmp_path)
    assert matrix.empty_matrix(25, 10, tmp_path).nbytes == 1000


def test_a_folder_that_refuses_the_file_of_a_large_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        Path(path).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matrix, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(InputError, match=r"has no room for the matrix of 3 images \(No space left on device\)"):
        matrix.empty_matrix(3, 2, tmp_path)
    assert os.listdir(tmp_path) == []
