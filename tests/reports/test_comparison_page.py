"""The pages of a comparison, read as HTML."""

import re
from typing import Any

import numpy as np
import pandas as pd
from conftest import sweep_of

from kesikaran.analysis import pairwise, ranking, run_predictions
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.config.metric_names import METRICS
from kesikaran.metrics.binary import Confusion
from kesikaran.reports import comparison_page

LABELS = np.arange(40) % 2


def run(name: str, wrong: int, **columns: Any) -> RunPredictions:
    """A run on 40 images, of which the first are predicted wrongly."""
    logits = np.where(np.arange(40) < wrong, -1.5, 1.5) * np.where(LABELS == 1, 1, -1)
    rows = pd.DataFrame({"object_id": [f"{i:040x}.png" for i in range(40)], "split": "test", "label": LABELS})
    rows = rows.assign(logit=logits, probability=1 / (1 + np.exp(-logits)), **columns)
    return run_predictions.run_predictions(name * 32, name, {}, {}, rows, "test")


def table_rows(page: str) -> list[str]:
    """The rows of all tables, without line breaks."""
    return [row.replace("\n", "") for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]


def test_every_metric_has_a_row_with_its_numbers_in_full_and_its_direction() -> None:
    weights = np.linspace(0.5, 1, 40)
    runs = [run("a", 12, weight=weights), run("b", 4, weight=weights)]
    found = pairwise.compare(runs[0], runs[1], "test")
    changed = pairwise.changed(*runs)
    page = comparison_page.pair(found, run_predictions.aligned(runs, "test"), changed, {name: [] for name in changed})
    rows = {match[1]: row for row in table_rows(page) if (match := re.search(r'<th scope="row">(\w+)', row))}
    assert list(found.differences) == list(METRICS)
    for name, metric in METRICS.items():
        d = found.differences[name]
        expected = [found.a.metrics[name].value, found.b.metrics[name].high, d.difference, d.low, d.p_value]
        for value in expected:
            assert f'<data value="{value!r}">' in rows[name], (name, value)
        assert ("(less is better)" in rows[name]) is not metric.higher_is_better, name
        assert ('class="primary"' in rows[name]) is (name == "accuracy"), name


def test_decisions_have_their_share_of_the_label() -> None:
    assert comparison_page._with_shares(Confusion(tn=3, fp=1, fn=1, tp=1)) == [[(3, 0.75), (1, 0.25)], [(1, 0.5)] * 2]
    assert comparison_page._with_shares(Confusion(tn=3, fp=1, fn=0, tp=0))[1] == [(0, 0), (0, 0)], "no division by 0"


def swept(wrong: dict[str, int], varies: str = "head.l2", **columns: Any) -> str:
    """The page of a sweep whose jobs predict so many images wrongly, the best first."""
    logits = {name: run("x", count).rows["logit"].to_numpy() for name, count in wrong.items()}
    jobs, read = sweep_of(logits, LABELS, [0.1 * number for number in range(len(wrong))], varies=varies, **columns)
    found = ranking.compare("s", jobs, read, "test")
    return comparison_page.sweep(ranking.with_every_pair(found, jobs, read, lambda: None))


def bold(page: str) -> tuple[set[str], int]:
    """(names of the jobs in bold rows, number of p-values in bold) of the page of a sweep."""
    rows = [row for row in table_rows(page) if 'class="primary"' in row]
    return {re.findall(r'<td class="words">(\w+)</td>', row)[0] for row in rows}, page.count("<strong>")


def test_the_page_of_a_sweep_has_in_bold_what_is_not_distinguishable_from_the_best() -> None:
    page = swept({"a": 2, "b": 3, "c": 30})
    assert bold(page) == ({"a", "b"}, 4), "c differs from a and from b, each in two cells"
    assert "validation log loss*" in page


def test_a_job_that_no_test_can_compare_is_not_bold_and_is_said() -> None:
    """With one group no p-value is defined, however far apart two jobs are."""
    page = swept({"a": 2, "c": 30}, group=0)
    assert bold(page) == ({"a"}, 0)
    assert "<td>could not be tested</td>" in page


def test_no_seed_is_the_best() -> None:
    page = swept({"3": 2, "4": 30}, "seed")
    assert bold(page) == (set(), 2), "the seeds may differ from each other"
    assert "the best" not in "".join(table_rows(page))
    assert "*" not in "".join(table_rows(page))
