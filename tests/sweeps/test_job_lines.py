"""The one line of each job of a sweep."""

import pytest

from kesikaran.experiment.outcome import Verdict
from kesikaran.sweeps import job_lines
from kesikaran.tracking import context

WORDS = ["seed=1", "head.dropout=0.1", "data.name=made"]


@pytest.fixture(autouse=True)
def varied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(context.VARIED_ENV, "seed head.dropout")


def test_a_job_has_its_number_what_differs_its_metric_and_its_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    job_lines.print_done(3, WORDS, Verdict(0.4, True, words="accuracy 0.836 [0.768, 0.887]"), 1.25)
    job_lines.print_done(4, WORDS, Verdict(0.4, False, words="accuracy 0.1"), 61)
    assert capsys.readouterr().out.splitlines() == [
        "Job 3  seed=1 head.dropout=0.1  accuracy 0.836 [0.768, 0.887]  1.2 s",
        "Job 4  seed=1 head.dropout=0.1  accuracy 0.1  61.0 s  gate failed",
    ]


def test_a_job_that_another_command_is_at_work_on_has_no_line_yet(capsys: pytest.CaptureFixture[str]) -> None:
    job_lines.print_done(3, WORDS, Verdict(0.4, True, elsewhere=object()), 1)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""


def test_a_job_that_failed_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    job_lines.print_failed(3, WORDS, "head.dropout=2 is not allowed")
    line = "Job 3  seed=1 head.dropout=0.1  error: head.dropout=2 is not allowed\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(("planned", "start"), [(9, "Sweep of 9 jobs."), (1, "Sweep of 1 job."), (None, "Sweep.")])
def test_the_heading_says_what_the_lines_are(
    planned: int | None, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job_lines.print_heading(planned, "roc_auc", 0.9)
    out = capsys.readouterr().out
    assert out == f"{start} A line for each: ROC AUC on the validation images [90% interval], seconds.\n"
    job_lines.print_heading(planned, "made up", 0.9)
    assert "made up" in capsys.readouterr().out, "each job refuses it, and the heading is no place to fail"
