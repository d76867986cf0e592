"""The HTML page of the images whose labels the model doubts most, for a person who checks them and ticks those that
are wrong. The page saves the ticks as the file that `kesikaran data relabel` takes."""

from pathlib import Path

import pandas as pd

from kesikaran.reports import document, thumbnails


def write(
    doubts: pd.DataFrame, top: int, images: Path, max_megapixels: float, out: Path, title: str, blur: bool
) -> dict[str, int]:
    """Write the first `top` rows of `doubts` to `out`, one HTML file that needs no other file and no network.

    Args:
        doubts: the table of `cross_validation.doubts`: columns object_id, label, probability, loss, the highest loss
            first.
        images, max_megapixels, blur: see `thumbnails.make`. A row without a picture is shown with the reason.
        title: names the run: the ticks on the page are kept in the browser under it.

    Returns:
        Kind of reason -> number of rows without a picture.

    Raises:
        InputError: a name is not an object id, or `out` is in the repository, does not end in `.html`, or is not
            writable.
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
