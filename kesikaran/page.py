"""A comparison as one HTML page."""

import math
from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

from kesikaran import curves, figures
from kesikaran.comparison import Judged, Pair, level, p_in_words
from kesikaran.document import Document
from kesikaran.intervals import Interval
from kesikaran.paired import Difference
from kesikaran.ranges import LOWER_IS_BETTER
from kesikaran.ranking import Sweep
from kesikaran.scores import Confusion, Outcome
from kesikaran.thumbnails import Thumbnail

_SECTIONS = {
    "fixed": ("Fixed by B", "A decides wrongly, B rightly; the surest of B first."),
    "broken": ("Broken by B", "A decides rightly, B wrongly; the surest of B first."),
    "both_wrong": ("Wrong in both", "Those that both are surest of first: also where to look for wrong labels."),
}
_OF_WORDS = ("job", "test")  # columns that hold no numbers
_WORDS = ' class="words"'
_STYLE = """:root { color-scheme: light dark; --line: #8886; --tint: 0, 114, 178; }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; overflow-wrap: anywhere;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
.verdict { border-left: .3rem solid rgb(var(--tint)); font-size: 1.1rem; padding-left: .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { font-weight: 600; padding: .3rem 0; text-align: left; }
th, td { border-bottom: 1px solid var(--line); overflow-wrap: normal; padding: .25rem .7rem; text-align: left; }
.numbers :is(td, thead th) { text-align: right; white-space: nowrap; }
tr > th:first-child { background: Canvas; left: 0; position: sticky; text-align: left; }
.numbers :is(td, thead th).words { text-align: left; }
.primary { font-weight: 700; }
.side { display: flex; flex-wrap: wrap; gap: 1.5rem 2.5rem; }
figure { flex: 1 1 17rem; margin: 0; max-width: 24rem; }
figure svg { height: auto; width: 100%; }
figcaption, .less { font-size: .85rem; opacity: .85; }
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); list-style: none;
  padding: 0; }
li.image { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; }
img, .none { aspect-ratio: 1; display: block; object-fit: contain; width: 100%; }
.none { align-items: center; background: #8883; display: flex; justify-content: center; text-align: center; }
dl { display: grid; gap: 0 .6rem; grid-template-columns: auto 1fr; margin: .4rem 0; }
dd { font-variant-numeric: tabular-nums; margin: 0; text-align: right; }
code { font-size: .75rem; }
"""
_BODY = """<p class="verdict">{conclusion}</p>
<ul>{remarks}</ul>
{body}"""
_IMAGE = """<li class="image">
{picture}
<dl><dt>label</dt><dd>{label}</dd><dt>A says</dt><dd>{a:.3f}</dd><dt>B says</dt><dd>{b:.3f}</dd></dl>
<code>{path}</code>
</li>"""


def pair(
    found: Pair, outcomes: list[Outcome], changed: dict[str, pd.DataFrame], pictures: dict[str, list[Thumbnail]]
) -> Document:
    """The page of two runs.

    Args:
        outcomes: of A and of B. changed: see `comparison.changed`. pictures: of the first rows of each of its tables.
    """
    names = [escape(f"{label}: {run.name}") for label, run in (("A", found.a), ("B", found.b))]
    parts = [
        _runs(found),
        _metrics(found),
        "<h2>Decisions</h2>",
        f'<div class="side">{_together(found)}{_confusion("A", found.a)}{_confusion("B", found.b)}</div>',
        _figures(found, outcomes),
    ]
    parts += [_section(name, changed[name], pictures[name]) for name in _SECTIONS]
    about = f"{found.n:,} images of the {found.split} split, {found.ones:,} of label 1"
    return _page(f"{' &#8211; '.join(names)}", [about, *found.remarks], found.conclusion, parts)


def sweep(found: Sweep) -> Document:
    """The page of a sweep: its jobs, the best by validation first, and every pair of them."""
    about = f"{found.n:,} images of the {found.split} split, {found.ones:,} of label 1"
    parts = [_candidates(found), _matrix(found)]
    return _page(f"Sweep {escape(found.sweep_id)}", [about, *found.remarks], found.conclusion, parts)


def _page(title: str, remarks: list[str], conclusion: str, parts: Iterable[str]) -> Document:
    """title: HTML; the others: text and HTML sections."""
    listed = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return Document(title, _STYLE, _BODY.format(conclusion=escape(conclusion), remarks=listed, body="\n".join(parts)))


def _table(caption: str, head: list[str], rows: Iterable[str], kind: str = "numbers") -> str:
    """head and rows: HTML. It scrolls by itself where the page is narrow."""
    top = "".join(f'<th scope="col"{_WORDS if cell in _OF_WORDS else ""}>{cell}</th>' for cell in head)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(first: str, cells: Iterable[str], kind: str = "") -> str:
    filled = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{kind}"><th scope="row">{first}</th>{filled}</tr>'


def _words(text: str) -> str:
    return f"<td{_WORDS}>{escape(text)}</td>"


def _number(value: float, form: str = ".3f") -> str:
    """A number as it is read, and, for machines, as it is."""
    return "-" if math.isnan(value) else f'<data value="{value!r}">{value:{form}}</data>'


def _interval(found: Interval | Difference, value: float, form: str = ".3f") -> str:
    if math.isnan(value):
        return "-"
    if math.isnan(found.low):
        return _number(value, form)
    return f"{_number(value, form)} [{_number(found.low, form)}, {_number(found.high, form)}]"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f'<data value="{value!r}">{escape(p_in_words(value))}</data>'


def _percent(found: Pair) -> str:
    return f"{100 * found.confidence:g} %"


def _runs(found: Pair) -> str:
    keys = {"run": "run_id", "name": "name"}
    rows = [
        _row(key, (escape(getattr(run, attribute)) for run in (found.a, found.b))) for key, attribute in keys.items()
    ]
    for key, value in found.a.fingerprints.items():
        rows.append(_row(escape(key), (escape(value), escape(found.b.fingerprints[key]))))
    for key, values in found.params.items():
        rows.append(_row(escape(key), ("-" if value is None else escape(value) for value in values)))
    return _table("The runs, and the settings that differ", ["", "A", "B"], rows, "words")


def _metrics(found: Pair) -> str:
    rows = []
    for name, one in found.differences.items():
        shown = name + (' <span class="less">(less is better)</span>' if name in LOWER_IS_BETTER else "")
        each = [_interval(run.metrics[name], run.metrics[name].value) for run in (found.a, found.b)]
        cells = [*each, _interval(one, one.difference, "+.3f"), _p_value(one.p_value), _words(one.test)]
        rows.append(_row(shown, cells, "primary" if name == found.primary_metric else ""))
    caption = f"Metrics with {_percent(found)} intervals"
    return f"<h2>Metrics</h2>{_table(caption, ['', 'A', 'B', 'B &#8722; A', 'p', 'test'], rows)}"


def _together(found: Pair) -> str:
    rows = [
        _row("A right", (f"{found.both_right:,}", f"{found.only_a_right:,}")),
        _row("A wrong", (f"{found.only_b_right:,}", f"{found.both_wrong:,}")),
    ]
    return _table("Both together, images", ["", "B right", "B wrong"], rows)


def _confusion(label: str, run: Judged) -> str:
    counts: Confusion = run.confusion
    rows = []
    for true, row in enumerate(counts.matrix()):
        cells = []
        for count in row:
            share = count / max(sum(row), 1)
            cells.append(
                f'<span style="background: rgba(var(--tint), {share * 0.45:.2f})">{count:,} ({share:.1%})</span>'
            )
        rows.append(_row(f"label {true}", cells))
    return _table(f"Decisions of {label}", ["", f"{label} says 0", f"{label} says 1"], rows)


def _figures(found: Pair, outcomes: list[Outcome]) -> str:
    named = dict(zip("AB", outcomes, strict=True))
    drawn = []
    for title, curve, draw, metric in (
        ("ROC", curves.roc, figures.roc_bands, "roc_auc"),
        ("Precision and recall", curves.precision_recall, figures.precision_recall_bands, "pr_auc"),
    ):
        made = {label: line for label, one in named.items() if (line := curve(one, found.confidence)) is not None}
        if made:  # both labels are there
            areas = {"A": found.a.metrics[metric].value, "B": found.b.metrics[metric].value}
            text = f"{title} of A and B with pointwise {_percent(found)} bands"
            drawn.append(_figure(draw(made, areas, found.ones / found.n), text))
    bins = {label: curves.reliability(one, found.calibration_bins, found.confidence) for label, one in named.items()}
    text = f"Reliability of A and B: bins of equal counts with {_percent(found)} intervals; on the dotted line the "
    drawn.append(_figure(figures.reliability_diagram(bins), text + "probabilities are what happens"))
    return f'<h2>Curves</h2><div class="side">{"".join(drawn)}</div>'


def _figure(figure: Any, text: str) -> str:
    drawn = f'<div role="img" aria-label="{text}">{figures.svg(figure)}</div>'
    return f"<figure>{drawn}<figcaption>{text}.</figcaption></figure>"


def _section(name: str, rows: pd.DataFrame, pictures: list[Thumbnail]) -> str:
    title, about = _SECTIONS[name]
    shown = "".join(
        _image(row, picture, f"{title}, image {number}")
        for number, (row, picture) in enumerate(zip(rows.itertuples(), pictures, strict=False), 1)
    )
    cut = f" The first {len(pictures)} are shown." if len(pictures) < len(rows) else ""
    about += f" What A and B say is the probability of label 1.{cut}"
    return f"<h2>{title}: {len(rows):,} images</h2><p>{about}</p><ol>{shown}</ol>"


def _image(row: Any, picture: Thumbnail, alt: str) -> str:
    html = picture.html(alt)
    if picture.jpeg is not None:
        html = f'<a href="{escape(picture.path.as_uri())}">{html}</a>'
    return _IMAGE.format(
        picture=html, label=row.label, a=row.probability_a, b=row.probability_b, path=escape(str(picture.path))
    )


def _candidates(found: Sweep) -> str:
    rows = []
    for number, one in enumerate(found.candidates, 1):
        cells = [_words(one.name), _number(one.validation, ".4f"), _interval(one.primary, one.primary.value)]
        if one.against_best is None:
            cells += ["the best", ""]
        else:
            cells += [_interval(one.against_best, one.against_best.difference, "+.3f"), _p_value(one.p_adjusted)]
        alike = one.against_best is None or one.run_id in found.not_distinguishable
        rows.append(_row(str(number), cells, "primary" if alike else ""))
    head = ["", "job", f"validation {found.validation_metric}", f"{found.split} {found.primary_metric}"]
    head += ["less the best's", "p, corrected"]
    return _table("The best by validation first; bold: not distinguishable from it", head, rows)


def _matrix(found: Sweep) -> str:
    rows = []
    for number, (one, line) in enumerate(zip(found.candidates, found.p_adjusted, strict=True), 1):
        cells = [f"<strong>{_p_value(p)}</strong>" if p <= level(found.confidence) else _p_value(p) for p in line]
        rows.append(_row(f'<span title="{escape(one.name)}">{number}</span>', cells))
    head = ["", *(str(number) for number in range(1, len(rows) + 1))]
    return "<h2>Every pair</h2>" + _table(
        "p-values after Holm's correction over all pairs; bold: distinguishable", head, rows
    )
