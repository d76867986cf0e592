"""Check an object store against its file names, its decoder and its label.csv."""

import json
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kesikaran.core import files, parallel, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import image_file, label_file, libjpeg_lines, object_store
from kesikaran.data.image_file import BadImage, Reason

_STATE = ".verified.json"
_JUDGEMENT = 2  # to be raised when more is found wrong: what was right before is then read again
_AHEAD = 64
_EXTENSIONS = {".jpg": (".jpg", ".jpeg", ".jpe", ".jfif"), ".png": (".png",)}
_SAVE_EVERY = 5000  # objects, the most that are read once more after an interruption


@dataclass(frozen=True)
class Result:
    """wrong: (path, reason). remarks: (path, what libjpeg complains of) of objects that are right. checked: objects
    read now. skipped: objects verified before and unchanged since then."""

    wrong: list[tuple[str, str]]
    remarks: list[tuple[str, str]]
    checked: int
    skipped: int


def verify(data: Path, max_megapixels: float, everything: bool = False) -> Result:
    """Check `data/images` against its names, its decoder and `data/label.csv`.

    An object is wrong where its bytes have another SHA-1 than its name, it is no whole JPEG or PNG, its name is no
    SHA-1 or has the extension of the other kind (a run goes by the content), it lies in another folder than its name
    says or in two, or label.csv has no row for it. A row without an object is wrong too. A row finds its object as
    `object_store.find` does.

    Args:
        max_megapixels: a larger image is wrong, as it is refused in training.
        everything: read also the objects that an earlier call found right and that still have the same size and
            modification time.

    Raises:
        InputError: no such folder, label.csv is missing or malformed, `data` is not writable or in use.
    """
    if not (data / "images").is_dir():
        raise InputError(f"{data} has no folder images; give the folder that an ingest wrote to")
    with object_store.alone(data):
        files.remove_temporaries(data / _STATE)
        return _verify(data, max_megapixels, everything)


def _verify(data: Path, max_megapixels: float, everything: bool) -> Result:
    images = data / "images"
    rows = set(label_file.read_labels(data / "label.csv", both_classes=False).table["object_id"])
    found = object_store.find(object_store.objects(images), rows)
    wrong = [(f"label.csv: {name}", "no object") for name in sorted(rows - set(found))]
    labelled = {path.name for path in found.values()}
    objects, misplaced = _list(images)
    wrong += misplaced
    wrong += [
        (str(path), "no row in label.csv")
        for path in objects
        if path.name not in labelled and object_store.is_object_id(path.name)
    ]
    rules = f"{_JUDGEMENT}, {max_megapixels:g} megapixels"
    before = {} if everything else _state(data / _STATE, rules)
    marks = {path: _mark(path) for path in objects}
    todo = [path for path in objects if before.get(_key(path, images), [None])[:2] != marks[path]]
    left = set(todo)
    right = {key: before[key] for path in objects if path not in left for key in [_key(path, images)]}
    checked = 0
    if todo:
        with terminal.quiet_start():
            from kesikaran.data import preprocess  # it loads TensorFlow, which decodes each image

            preprocess.leave_gpus_free()
    try:
        with (
            libjpeg_lines.kept_back(),
            terminal.progress(None, "verify", "image", len(todo)) as bar,
            closing(parallel.ordered(lambda path: _check(path, max_megapixels), todo, _AHEAD)) as results,
        ):
            for path, (reason, remark) in results:
                checked += 1
                if reason:
                    wrong.append((str(path), reason))
                else:  # the mark was taken before the read, so that a change meanwhile is seen
                    right[_key(path, images)] = [*marks[path], remark]
                if checked % _SAVE_EVERY == 0:
                    _save(data, rules, right)
                bar.update()
    finally:
        _save(data, rules, right)
    remarks = [(str(images / key), str(of[2])) for key, of in sorted(right.items()) if of[2]]
    return Result(wrong, remarks, checked, len(objects) - len(todo))


def _list(images: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """(every object of either layout, sorted; (path, reason) of what is in the wrong place)."""
    objects: list[Path] = []
    wrong: list[tuple[str, str]] = []
    for path in sorted(images.iterdir()):
        if path.name == ".incoming":
            wrong.append((str(path), "left by a stopped ingest: run it again"))
        elif not path.is_dir():
            objects.append(path)
        elif re.fullmatch("[0-9a-fA-F]{2}", path.name):
            objects += sorted(path.iterdir())
        else:
            wrong.append((str(path), "not a folder of objects"))
    seen: dict[str, Path] = {}
    for path in objects:
        if path.parent != images and not path.name.startswith(path.parent.name):
            wrong.append((str(path), "in the wrong folder"))
        if path.name in seen:
            wrong.append((str(path), f"is there twice: also {seen[path.name]}"))
        seen[path.name] = path
    return objects, wrong


def _check(path: Path, max_megapixels: float) -> tuple[str, str]:
    """(why an object is wrong, empty where it is right; what libjpeg complains of nevertheless)."""
    from kesikaran.data import preprocess  # it loads TensorFlow

    if not object_store.is_object_id(path.name):
        return "its name is no SHA-1", ""
    try:
        with image_file.opened(path, max_megapixels, object_store.sha1_of(path.name)) as image:
            remark = image.complaint
            if not preprocess.decodes(image.content):
                raise BadImage(Reason.damaged, "it cannot be decoded")
    except BadImage as reason:
        return str(reason), ""
    given = path.suffix.lower()
    if given and given not in _EXTENSIONS[image.extension]:
        return f"its content is {image.extension}, its name says {given}", ""
    return "", remark


def _key(path: Path, images: Path) -> str:
    return path.relative_to(images).as_posix()


def _mark(path: Path) -> list[int]:
    """[size in bytes, modification time in ns]: both unchanged, the object counts as unchanged. Empty: no file."""
    try:
        status = path.stat()
    except OSError:  # a broken link: `_check` says so
        return []
    return [status.st_size, status.st_mtime_ns]


def _state(path: Path, rules: str) -> dict[str, list[int | str]]:
    """What an earlier call by the same rules found right: key -> [size, modification time, libjpeg's complaint]."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        found = state["right"] if state["rules"] == rules else {}
        return {key: [int(size), int(time), str(remark)] for key, (size, time, remark) in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or it is damaged: all are read again
        return {}


def _save(data: Path, rules: str, right: dict[str, list[int | str]]) -> None:
    try:
        files.write_whole(data / _STATE, json.dumps({"rules": rules, "right": right}, sort_keys=True))
    except OSError as error:
        raise InputError(f"{data} cannot be written: {error.strerror or error}") from None


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data verify")
