"""An HTML page that needs no other file and no network, and lies outside the repository."""

import base64
import hashlib
import math
from pathlib import Path
from typing import Any

import jinja2

from kesikaran.core import files, paths
from kesikaran.core.errors import InputError

# A template that names a missing value is an error and does not leave an empty place in the page.
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
# The filter `form` is Python's format(). Jinja's own filter `format` has the % syntax only.
_TEMPLATES.filters |= {"form": format, "in_full": repr}
_TEMPLATES.tests["nan"] = math.isnan


def _script_source(script: str) -> str:
    """What a page's policy says so that this one script runs, and no other that came into the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


_TEMPLATES.filters["script_source"] = _script_source


def render(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: a file of `templates/` that extends `base.html`. values: the values that it names. Their text is
            escaped, and is never taken for a template itself.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return _TEMPLATES.get_template(template).render(values)


def check(out: Path, option: str) -> None:
    """Check that a page, which may hold pictures, may be written to `out`.

    Args:
        option: the option of the command line that gives `out`.

    Raises:
        InputError: `out` is in the repository, does not end in `.html`, or is a folder.
    """
    root = paths.checkout()
    if root and out.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{out} is inside the repository, where no picture of a data set belongs; give {option} outside"
        )
    if out.suffix != ".html" or out.is_dir():
        raise InputError(f"{option} {out} is not allowed: a file that ends in .html")


def write(page: str, out: Path, option: str) -> None:
    """Write a page whole or not at all. The arguments are those of `check`.

    Raises:
        InputError: `out` is not writable.
    """
    files.writable(out.parent, "folder", f"give another with {option}")
    try:
        files.write_whole(out, page)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
