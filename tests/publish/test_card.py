"""The model card: its numbers are the run's own, and what others have written breaks nothing and shows no secret."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from markdown_it import MarkdownIt

from kesikaran.config import compose
from kesikaran.config.schema import BackboneConfig, DecisionRule, Experiment, PublishConfig
from kesikaran.core import paths
from kesikaran.metrics.conformal import Band
from kesikaran.publish import card
from kesikaran.publish.card import Copy
from kesikaran.publish.facts import Facts
from kesikaran.tracking.queries import Record

pytestmark = pytest.mark.tensorflow  # the rooms of the store import MLflow

METRICS = {
    "train/n": 1208.0, "validation/n": 151.0, "test/n": 152.0, "test/tp": 60.0, "test/fn": 16.0,
    "test/accuracy": 0.8421, "test/accuracy_low": 0.7712, "test/accuracy_high": 0.8934, "test/log_loss": 0.3456,
    "test/unsure": 0.271, "test/surely_wrong_of_0": 0.0132, "test/surely_wrong_of_0_low": 0.0023,
    "test/surely_wrong_of_0_high": 0.0711, "test/surely_wrong_of_1": 0.0395, "leak/nearest_cosine": 0.8765,
    "validation/accuracy": 0.1111, "train/accuracy": 0.2222,
}  # fmt: skip
COPIES = [Copy("saved_model/", "encoded images in", 3_456_789, 0, 0.0), Copy("index.html", "a page", 99, None, None)]


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "run_id": "a" * 32, "data": "cells", "backbone": BackboneConfig(handle="/some/folder"), "digest": "d" * 32,
        "width": 1280, "views": ("identity",), "max_megapixels": 50.0, "rule": DecisionRule.tuned,
        "threshold": math.log(0.37 / 0.63), "band": Band(math.log(0.21 / 0.79), math.log(0.68 / 0.32), 0.05),
    }  # fmt: skip
    return Facts(**given | changes)


def record(name: str = "swift-fox-1", params: dict[str, str] | None = None, **metrics: float) -> Record:
    tags = {"git_commit": "0123456789abcdef", "data_digest": "datadigest", "split_fingerprint": "splitprint"}
    return Record("a" * 32, name, "FINISHED", "cells", 0, params or {}, tags, METRICS | metrics)


def shares(**lows: float) -> pd.DataFrame:
    """`prevalences.csv`, of shares written as `share_0_1` with the lower end of their precision."""
    rows = []
    for name, low in lows.items():
        row = {"prevalence": float(name.removeprefix("share_").replace("_", "."))}
        for of, value in (("precision", low + 0.1), ("alerts_per_10000", 1234.0), ("missed_per_10000", 5.5)):
            row |= {of: value, f"{of}_low": low if of == "precision" else value, f"{of}_high": value}
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def render() -> Callable[..., str]:
    def text(run: Record, about: Facts, prevalences: pd.DataFrame | None = None, *left_out: str) -> str:
        return card.render(run, about, prevalences, COPIES, list(left_out), PublishConfig(), Path("/anywhere/model"))

    return text


def paragraph(text: str, begin: str) -> str:
    """The lines from `begin` to the next empty one, as one."""
    return text[text.index(begin) :].split("\n\n")[0].replace("\n", " ")


def test_its_numbers_are_the_runs(render: Callable[..., str]) -> None:
    prevalences = shares(share_0_5=0.71, share_0_1=0.48, share_0_01=0.05)
    text = render(record(), facts(), prevalences, "There is no `model_int8.tflite`: with 8 bits it drifts.")
    assert "1,511 of which were used: 1,208 to train on, 151 for validation, 152 to test" in text.replace("\n", " ")
    assert "On the 152 test images (76 of label 1)" in text
    assert "| accuracy | 0.842 [0.771, 0.893] |\n| log loss | 0.346 |\n" in text
    assert "from a probability of 0.37 on (rule `tuned`)" in text
    assert paragraph(text, "**Sure or not.**") == (
        "**Sure or not.** Between the probabilities 0.21 and 0.68 the model is *not sure*. The promise, by conformal "
        "prediction on 151 validation images: on average at most 0.05 of the images of each label are called the other "
        "label with certainty, whatever the share of label 1, as long as the images of each label are like those of "
        "validation. On test it is not sure of 27% of the images; called the other label with certainty were 0.013 "
        "[0.002, 0.071] of label 0 and 0.040 of label 1."
    )
    assert "| 0.1 | 0.580 [0.480, 0.580] | 1,234 [1,234, 1,234] | 5.5 [5.5, 5.5] |" in text
    assert "At a share of 0.1 or below" in text, "the largest one at which the lower end is below a half"
    assert "- The nearest training image of a test image has cosine 0.88 in the median." in text
    assert "| `saved_model/` | encoded images in | 3.5 MB | 0 | 0 |\n| `index.html` | a page | 0.0 MB | - | - |" in text
    assert "There is no `model_int8.tflite`: with 8 bits it drifts." in text
    assert "digest `datadigest`, split `splitprint`" in text
    assert "run `" + "a" * 32 + "`, code `0123456789ab`." in text
    for foreign in ("0.111", "0.222", "nan"):
        assert foreign not in text


def test_what_a_run_does_not_have_is_said(render: Callable[..., str]) -> None:
    bare = render(record(), facts(band=None))
    assert "The run has no band of *not sure* (`decision.error=null`)." in bare
    assert "The run has no table of other shares (`evaluation.prevalences=[]`)." in bare
    assert "| share of label 1 |" not in bare
    assert "At a share of" not in bare
    assert "At a share of" not in render(record(), facts(), shares(share_0_5=0.6))
    clean = Record("a" * 32, "a", "FINISHED", "cells", 0, {}, {}, {"test/n": 5.0})
    assert "- Nothing was measured." in render(clean, facts(band=None))


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-math.inf, math.inf, "At every probability the model is *not sure*."),
        (-math.inf, 0.0, "Up to a probability of 0.5 the model is *not sure*."),
        (-2.0, math.inf, "From a probability of 0.119 on the model is *not sure*."),
    ],
)
def test_a_band_without_an_end(low: float, high: float, says: str, render: Callable[..., str]) -> None:
    assert f"**Sure or not.** {says} The promise" in render(record(), facts(band=Band(low, high, 0.05)))


def test_only_settings_that_are_not_the_defaults_are_listed(render: Callable[..., str]) -> None:
    ConfigStore.instance().store(name="schema", node=Experiment)
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        composed: Any = hydra_compose("config")
    defaults = compose.flatten(compose.parse(composed)) | {"of.another.version": "1"}
    assert "- All settings are the defaults.\n" in render(record(params=defaults), facts())
    changed = {"optimizer.lr": "0.3", "seed": "7", "finetune.from_run": "a`b", "data.images": "/secret/place"}
    changed |= {"backbone.image_size": "64", "backbone.handle": "/secret/place", "data.limit": "300"}
    text = render(record(params=defaults | changed), facts())
    html = MarkdownIt().render(text)
    listed = re.findall(r"<li>\s*(?:<p>)?<code>(\w[\w.]*=.*?)</code>", html)
    expected = ["backbone.image_size=64", "data.limit=300", "finetune.from_run=a'b", "optimizer.lr=0.3", "seed=7"]
    assert sorted(listed) == expected
    assert "Allowed was: 0.005 of the labels may be others, a probability by 0.02." in text
    assert "/secret/place" not in text


def test_foreign_text_breaks_nothing_and_shows_no_secret(render: Callable[..., str]) -> None:
    name = "a`b` | c\n\n# <script>alert(1)</script> [x](http://u:hunter22@x) *d*"
    handle = "https://user:hunter22@host.example/mo`del?token=secret123"
    about = facts(data=name, backbone=BackboneConfig(handle=handle))
    text = render(record(name, {"finetune.from_run": handle}), about)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    as_text = "a`b` | c # &lt;script&gt;alert(1)&lt;/script&gt; [x](http://u:***@x) *d*"
    assert html.startswith(f"<h1>{as_text}: {as_text}</h1>")
    assert f"<em>{as_text}</em>" in html
    assert "<script" not in html
    assert "<a " not in html
    assert html.count("<h1>") == 1
    for secret in ("hunter22", "secret123"):
        assert secret not in text
    assert "Backbone: <code>https://user:***@host.example/mo'del?token=***</code>, digest" in html


def test_it_is_valid_markdown(render: Callable[..., str]) -> None:
    text = render(record(params={"seed": "7"}), facts(), shares(share_0_5=0.1))
    html = MarkdownIt().enable("table").render(text)
    assert html.count("<table>") == 3
    assert "|" not in re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL)
    headings = re.findall("<h2>(.*?)</h2>", html)
    assert headings[0] == "Intended use"
    assert headings[-1] == "How it was made"
    (block,) = re.findall("<pre><code>(.*?)</code></pre>", html, re.DOTALL)
    assert block == "kesikaran predict model PHOTOS --out predictions.csv\nkesikaran serve model\n"
    assert "\n\n\n" not in text
