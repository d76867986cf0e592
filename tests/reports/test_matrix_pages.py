"""Every job's confusion matrix on pages."""

import io
import time

import numpy as np
from PIL import Image

from kesikaran.metrics.binary import Confusion
from kesikaran.reports import figures, matrix_pages
from kesikaran.reports.matrix_pages import PAGE, Titled


def drawn(matrices: list[Titled]) -> list[np.ndarray]:
    pages = matrix_pages.pages(matrices, "test", "sorted by accuracy")
    return [np.asarray(Image.open(io.BytesIO(page)).convert("RGB")).astype(int) for page in pages]


def test_a_page_has_24_matrices_and_the_next_has_the_rest() -> None:
    several = [Titled(f"optimizer.lr={number}", Confusion(50 + number, 3, 4, 60)) for number in range(PAGE + 1)]
    first, second = drawn(several)
    assert first.shape[0] > 3 * second.shape[0]
    assert first.shape[1] > 2 * second.shape[1]
    assert drawn(several[:PAGE])[0].shape == first.shape
    assert drawn([]) == []


def test_a_matrix_shows_its_counts_and_its_title() -> None:
    one = drawn([Titled("seed=1", Confusion(60, 5, 4, 61))])[0]
    assert (one != drawn([Titled("seed=2", Confusion(60, 5, 4, 61))])[0]).any(), "the title"
    assert (one != drawn([Titled("seed=1", Confusion(61, 4, 4, 61))])[0]).any(), "the counts"
    dark = (one.sum(axis=2) < 400).mean(axis=1)
    assert dark.max() > 0.1, "the shares have their colour"


def test_a_hundred_jobs_take_no_two_seconds() -> None:
    several = [Titled(f"optimizer.lr=0.{number} head.dropout=0.3", Confusion(50, 3, 4, 60)) for number in range(100)]
    drawn(several[:1])  # fonts are loaded once
    began = time.process_time()
    drawn(several)
    assert time.process_time() - began < 2


def test_a_single_matrix_carries_the_name_of_its_run() -> None:
    counts = Confusion(60, 5, 4, 61)
    plain, named, other = (
        np.asarray(Image.open(io.BytesIO(figures.confusion_matrix(counts, "test", name))).convert("L")).astype(int)
        for name in ("", "head.dropout=0.3 $optimizer", "head.dropout=0.1 " + "a=1 " * 60)
    )
    assert plain.shape == named.shape == other.shape
    assert named.shape[1] == 300, "MLflow's compare page clips what is wider"
    below = int(0.21 * named.shape[0])
    assert (named[:below] != plain[:below]).any()
    assert (named[:below] != other[:below]).any()
    assert (named[below:] == plain[below:]).all(), "the matrix itself is the same"
