"""The images whose labels the model doubts most, as one HTML file: for the person who looks at them again."""

from pathlib import Path

import pandas as pd

from kesikaran.reports import document, thumbnails


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
    shown = list(zip(rows.itertuples(), made, strict=True))
    page = document.render("label_doubts.html", title=title, count=len(doubts), shown=shown)
    document.write(page, out, "--out")
    return thumbnails.missing(made)


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data label-doubts")
