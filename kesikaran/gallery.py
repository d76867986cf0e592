"""The images whose labels the model doubts most, as one HTML file: for the person who looks at them again."""

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from kesikaran import document, thumbnails
from kesikaran.document import Document
from kesikaran.thumbnails import Thumbnail

_STYLE = """:root { color-scheme: light dark; }
body { font: 1rem/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; overflow-wrap: anywhere;
  padding: 0 1rem; }
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); list-style: none;
  padding: 0; }
li { border: 1px solid #8888; border-radius: .4rem; padding: .6rem; }
img, .none { aspect-ratio: 1; object-fit: contain; width: 100%; }
.none { align-items: center; background: #8883; display: flex; justify-content: center; text-align: center; }
dl { display: grid; gap: 0 .6rem; grid-template-columns: auto 1fr; margin: .4rem 0; }
dd { font-variant-numeric: tabular-nums; margin: 0; text-align: right; }
code { font-size: .75rem; }
"""
_BODY = """<p>{about}</p>
<p>Each probability is of label 1, by the one model that had not seen the image. The doubt is the cross-entropy of the
label given, in nats. A wrong label is one reason of a high doubt, a hard image another: nothing was changed or
removed. This page holds pictures of your data set: keep it where they may be.</p>
<ol>
{rows}
</ol>"""
_ROW = """<li>
{picture}
<dl><dt>rank</dt><dd>{rank}</dd><dt>label given</dt><dd>{label}</dd>
<dt>probability</dt><dd>{probability:.3f}</dd><dt>doubt</dt><dd>{loss:.2f}</dd></dl>
<code>{name}</code>
</li>"""


def write(
    doubts: pd.DataFrame, top: int, images: Path, max_megapixels: float, out: Path, title: str, blur: bool
) -> dict[str, int]:
    """Write the `top` first rows of `doubts` to `out`, one HTML file that needs no other and no network.

    Args:
        doubts: as `crossval.doubts` gives them: columns object_id, label, probability, loss, the most doubted first.
        images, max_megapixels, blur: see `thumbnails.make`. A row without a picture is shown all the same.

    Returns:
        Kind of reason -> rows without a picture.

    Raises:
        InputError: a name that is no object id; `out` is in the repository, no `.html` file, or not writable.
    """
    document.check(out, "--out")
    rows = doubts.head(top)
    made = thumbnails.make(rows["object_id"], images, max_megapixels, blur)
    shown = [
        _row(row, rank, picture) for rank, (row, picture) in enumerate(zip(rows.itertuples(), made, strict=True), 1)
    ]
    about = f"{len(rows)} of {len(doubts)} images, the one whose label the model doubts most first."
    page = Document(escape(title), _STYLE, _BODY.format(about=about, rows="\n".join(shown)))
    document.write(page, out, "--out")
    return thumbnails.missing(made)


def _row(row: Any, rank: int, picture: Thumbnail) -> str:
    return _ROW.format(
        picture=picture.html(f"image of rank {rank}"),
        rank=rank,
        label=int(row.label),
        probability=float(row.probability),
        loss=float(row.loss),
        name=escape(str(row.object_id)),
    )


if __name__ == "__main__":
    from kesikaran.cli import door

    door.elsewhere("kesikaran data label-doubts")
