"""An HTML page that needs no other file, no script and no network, and lies outside the repository."""

import math
from pathlib import Path
from typing import Any

import jinja2

from kesikaran.core import files, paths
from kesikaran.core.errors import InputError

# A name that a template asks for and that is not there is an error, not an empty place in the page.
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
# Python's own format(), because Jinja's filter `format` knows the older % alone.
_TEMPLATES.filters |= {"form": format, "in_full": repr}
_TEMPLATES.tests["nan"] = math.isnan


def render(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: a file of `templates/` that extends `base.html`. values: what it names. Their text is escaped, and is
            never a template itself.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return _TEMPLATES.get_template(template).render(values)


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


def write(page: str, out: Path, option: str) -> None:
    """Write a page of `render` whole or not at all; see `check`.

    Raises:
        InputError: `out` is not writable.
    """
    files.writable(out.parent, "folder", f"give another with {option}")
    try:
        files.write_whole(out, page)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
