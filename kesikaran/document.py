"""An HTML page that needs no other file, no script and no network, and lies outside the repository."""

from dataclasses import dataclass
from pathlib import Path

from kesikaran import paths
from kesikaran.errors import InputError

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Document:
    """title: text as HTML, which is the heading too. style: CSS. body: HTML. With the policy that `write` gives it, a
    browser loads nothing for it, whatever stands in it."""

    title: str
    style: str
    body: str


def check(out: Path, option: str) -> None:
    """Whether a page, which may hold pictures, may be written to `out`, which the command line calls `option`.

    Raises:
        InputError: it is in the repository, no `.html` file, or a folder.
    """
    root = paths.checkout()
    if root and out.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{out} is inside the repository, where no picture of a data set belongs; give {option} outside"
        )
    if out.suffix != ".html" or out.is_dir():
        raise InputError(f"{option} {out} is not allowed: a file that ends in .html")


def write(page: Document, out: Path, option: str) -> None:
    """Write a page whole or not at all; see `check`.

    Raises:
        InputError: `out` is not writable.
    """
    paths.writable(out.parent, "folder", f"give another with {option}")
    try:
        paths.replace(out, _DOCUMENT.format(title=page.title, style=page.style, body=page.body))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
