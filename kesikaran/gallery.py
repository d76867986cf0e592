"""The images whose labels the model doubts most, as one HTML file: for the person who looks at them again."""

import base64
import io
import warnings
from collections import Counter
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from kesikaran import dataset, imagefile, parallel, paths, terminal
from kesikaran.errors import InputError

_AHEAD = 64
_THUMBNAIL_PX = 224
_BLUR = 16  # a blurred thumbnail holds every 16th pixel of its longer side

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; overflow-wrap: anywhere;
  padding: 0 1rem; }}
ol {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); list-style: none;
  padding: 0; }}
li {{ border: 1px solid #8888; border-radius: .4rem; padding: .6rem; }}
img, .none {{ aspect-ratio: 1; object-fit: contain; width: 100%; }}
.none {{ align-items: center; background: #8883; display: flex; justify-content: center; text-align: center; }}
dl {{ display: grid; gap: 0 .6rem; grid-template-columns: auto 1fr; margin: .4rem 0; }}
dd {{ font-variant-numeric: tabular-nums; margin: 0; text-align: right; }}
code {{ font-size: .75rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{about}</p>
<p>Each probability is of label 1, by the one model that had not seen the image. The doubt is the cross-entropy of the
label given, in nats. A wrong label is one reason of a high doubt, a hard image another: nothing was changed or
removed. This page holds pictures of your data set: keep it where they may be.</p>
<ol>
{rows}
</ol>
</body>
</html>
"""
_ROW = """<li>
{picture}
<dl><dt>rank</dt><dd>{rank}</dd><dt>label given</dt><dd>{label}</dd>
<dt>probability</dt><dd>{probability:.3f}</dd><dt>doubt</dt><dd>{loss:.2f}</dd></dl>
<code>{name}</code>
</li>"""


def write(doubts: pd.DataFrame, top: int, images: Path, out: Path, title: str, blur: bool) -> dict[str, int]:
    """Write the `top` first rows of `doubts` to `out`, one HTML file that needs no other and no network.

    Args:
        doubts: as `crossval.doubts` gives them: columns object_id, label, probability, loss, the most doubted first.
        images: the folder of objects, either layout. A row whose picture is not in it, or is damaged or not what its
            name says, is shown without one.
        blur: only every 16th pixel goes into the file, so that the sharp picture is not in it.

    Returns:
        Kind of reason -> rows without a picture.

    Raises:
        InputError: a name that is no object id; `out` is in the repository, no `.html` file, or not writable.
    """
    _check(doubts, out)
    rows = doubts.head(top)
    there = dataset.objects(images)
    files = [there.get(name, images / name) for name in rows["object_id"].astype(str)]
    missing: Counter[str] = Counter()
    shown: list[str] = []
    with (
        terminal.progress(None, "thumbnails", "image", len(rows)) as bar,
        warnings.catch_warnings(),
        closing(parallel.ordered(lambda path: _thumbnail(path, blur), files, _AHEAD)) as results,
    ):
        warnings.simplefilter("ignore")  # Pillow's, about files that are judged here
        for row, (_, result) in zip(rows.itertuples(), results, strict=True):
            if isinstance(result, str):
                missing[result.split(":")[0]] += 1
            shown.append(_row(row, len(shown) + 1, result))
            bar.update()
    about = f"{len(rows)} of {len(doubts)} images, the one whose label the model doubts most first."
    page = _PAGE.format(title=escape(title), about=about, rows="\n".join(shown))
    paths.writable(out.parent, "folder", "give another with --out")
    try:
        paths.replace(out, page)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
    return dict(missing.most_common())


def _check(doubts: pd.DataFrame, out: Path) -> None:
    wrong = [name for name in doubts["object_id"] if not dataset.is_object_id(str(name))]
    if wrong:
        raise InputError(f"the table of label doubts names {str(wrong[0])[:80]!r}, which is no SHA-1 file name")
    root = paths.checkout()
    if root and out.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{out} is inside the repository, where no picture of a data set belongs; give --out outside")
    if out.suffix != ".html" or out.is_dir():
        raise InputError(f"--out {out} is not allowed: a file that ends in .html")


def _row(row: Any, rank: int, picture: bytes | str) -> str:
    if isinstance(picture, str):
        shown = f'<div class="none">{escape(picture)}</div>'
    else:
        content = base64.b64encode(picture).decode()
        shown = f'<img alt="image of rank {rank}" src="data:image/jpeg;base64,{content}">'
    return _ROW.format(
        picture=shown,
        rank=rank,
        label=int(row.label),
        probability=float(row.probability),
        loss=float(row.loss),
        name=escape(str(row.object_id)),
    )


def _thumbnail(path: Path, blur: bool) -> bytes | str:
    """A JPEG of at most 224 px a side, without metadata, or why there is none. Transparency is dropped, an
    orientation tag not applied: what the model saw."""
    try:
        image, _ = imagefile.decode(imagefile.read_object(path), float("inf"))
    except imagefile.Refused as reason:
        return str(reason)
    image = imagefile.eight_bits(image).convert("RGB")
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    if blur:
        size = image.size
        image.thumbnail((max(1, max(size) // _BLUR),) * 2)
        image = image.resize(size)
    image.info.clear()  # a comment would be copied
    sink = io.BytesIO()
    image.save(sink, "JPEG")
    return sink.getvalue()
