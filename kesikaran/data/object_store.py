"""A folder of images, each named by the SHA-1 of its bytes."""

import os
import re
from pathlib import Path

# The SHA-1 in hex and an extension: no separator, no "..", so a name cannot leave its folder.
OBJECT_ID = re.compile(r"[0-9a-fA-F]{40}(\.[A-Za-z0-9]+)*")


def objects(folder: Path) -> dict[str, Path]:
    """File name -> path of all that lies in an object store, hidden entries left out.

    Two layouts are read, also mixed: flat, `folder/ab12....jpg`, and nested, `folder/ab/ab12....jpg`. Where
    a name is in both, flat counts. Lists folders and looks at no file, so it is quick.
    """
    found: dict[str, Path] = {}
    nested: dict[str, Path] = {}
    for entry in os.scandir(folder):
        if re.fullmatch("[0-9a-fA-F]{2}", entry.name) and entry.is_dir():
            inside = (name for name in os.listdir(entry) if name.startswith(entry.name))
            nested.update((name, folder / entry.name / name) for name in inside)
        elif not entry.name.startswith("."):
            found[entry.name] = folder / entry.name
    return nested | found


def is_object_id(name: str) -> bool:
    """Whether a file name is 40 hex digits and an extension."""
    return OBJECT_ID.fullmatch(name) is not None


def sha1_of(object_id: str) -> str:
    """The SHA-1 that a name carries, in lower case."""
    return object_id.split(".", 1)[0].lower()
