"""Notes: of a run, and of the data, which all jobs of a sweep say once."""

from pathlib import Path

import pytest

from kesikaran.core import paths
from kesikaran.reports import notes
from kesikaran.tracking import context


@pytest.fixture
def in_a_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path))
    monkeypatch.setenv(context.SWEEP_ENV, "5" * 32)
    monkeypatch.setenv(context.COMMAND_ENV, "c" * 32)
    return "c" * 32


def test_outside_a_sweep_everything_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        notes.of_run("run")
        notes.of_data("data")
    assert capsys.readouterr().out.split() == ["run", "data", "run", "data"]


def test_a_sweep_says_a_note_on_the_data_once(
    in_a_sweep: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.of_run("run")
    for sentence in ("a", "a", "b"):
        notes.of_data(sentence)
    for sentence in ("fold 0", "fold 1"):
        notes.of_data(sentence, "fold")
    assert capsys.readouterr().out.splitlines() == ["a", "b", "fold 0"]
    monkeypatch.setenv(context.COMMAND_ENV, "d" * 32)
    notes.of_data("a")
    assert capsys.readouterr().out == "a\n", "another command says it again"


def test_what_notes_leave_is_removed_and_of_this_command_alone(
    in_a_sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.of_data("a")
    monkeypatch.setenv(context.COMMAND_ENV, "d" * 32)
    notes.of_data("a")
    notes.forget(in_a_sweep)
    (left,) = (paths.cache_dir() / "hydra").iterdir()
    assert left.name.startswith("d" * 32)


def test_a_folder_that_cannot_be_written_silences_nothing(
    in_a_sweep: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hydra").write_text("a file in the place of the folder")
    notes.of_data("a")
    assert capsys.readouterr().out == "a\n"
