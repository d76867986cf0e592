"""Two finished runs, or all jobs of a sweep, image by image: `kesikaran compare RUN_A RUN_B`."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kesikaran.cli import door
from kesikaran.core import files, paths, terminal
from kesikaran.core.errors import InputError, printable

if TYPE_CHECKING:
    import pandas as pd

    from kesikaran.analysis.pairwise import Pair
    from kesikaran.analysis.ranking import SweepComparison
    from kesikaran.analysis.run_predictions import RunPredictions
    from kesikaran.reports.thumbnails import Thumbnail
    from kesikaran.tracking.queries import Record

_SHOWN = 60  # images of each kind


def main() -> None:
    """The command line. Exit codes: 0 done, whatever came out; 1 an error; 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        prog="kesikaran-compare",
        description="Compare two finished runs on the same images, or all jobs of a sweep: which differences are more "
        "than chance, and which images make them. Writes one HTML page that works offline, outside the repository.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="two runs, by id, beginning of an id or name; or sweep:ID"
    )
    parser.add_argument("--split", choices=("test", "validation", "train", "oof"), default="test",
                        help="oof: all folds of two cross-validations; default: %(default)s")  # fmt: skip
    parser.add_argument("--html", type=Path, metavar="FOLDER/page.html", help="default: compare/ in kesikaran's cache "
                        "folder")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, for programs")
    parser.add_argument("--no-blur", action="store_true", help="sharp thumbnails; by default they are not in the page")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="default: the folder that run A read")
    words = door.words(parser)
    with door.opened("Stopped."):
        if len(words.runs) == 1 and words.runs[0].startswith("sweep:"):
            _sweep(words.runs[0].removeprefix("sweep:"), words)
        elif len(words.runs) == 2:
            _pair(words.runs[0], words.runs[1], words)
        else:
            raise InputError(f"{printable(' '.join(words.runs))} is not allowed: two runs, or sweep:ID")


def _pair(first: str, second: str, words: argparse.Namespace) -> None:
    from kesikaran.analysis import pairwise, run_predictions
    from kesikaran.reports import comparison_page
    from kesikaran.tracking import queries

    runs = [queries.finished(word) for word in (first, second)]
    a, b = runs
    if a.run_id == b.run_id:
        raise InputError(f"{printable(first)} and {printable(second)} are the same run, {a.run_id}")
    out = _destinations(words, f"{a.run_id}_{b.run_id}_{words.split}")
    run_a, run_b = (_run_predictions(run, words.split) for run in runs)
    found = pairwise.compare(run_a, run_b, words.split)
    changed = pairwise.changed(run_a, run_b)
    pictures, lacking = _pictures(
        run_a.params, {name: rows["object_id"].head(_SHOWN) for name, rows in changed.items()}, words
    )
    aligned = run_predictions.aligned([run_a, run_b], words.split)
    html = comparison_page.pair(found, aligned, changed, pictures)
    _print_pair(found)
    print(lacking, end="")
    _write(pairwise.as_json(found), html, out, words.json)


def _sweep(word: str, words: argparse.Namespace) -> None:
    from functools import cache

    from kesikaran.analysis import pairwise, ranking
    from kesikaran.reports import comparison_page
    from kesikaran.tracking import artifacts, queries

    if words.split == "oof" or words.images or words.no_blur:
        raise InputError("--split oof, --images and --no-blur are of two runs; the page of a sweep holds no pictures")
    parent = queries.find(word)
    if not parent.is_sweep:
        raise InputError(f"run {parent.run_id} ({printable(parent.name)}) is no sweep; compare it with another run")
    jobs = queries.sweep_jobs(parent.run_id)
    finished = int((jobs["status"] == "FINISHED").sum())
    if finished < 2:
        raise InputError(f"sweep {parent.run_id} has {finished} finished jobs; at least 2 can be compared")
    out = _destinations(words, f"sweep_{parent.run_id}_{words.split}")
    read = cache(artifacts.predictions)
    found = ranking.compare(parent.run_id, jobs, read, words.split)
    with terminal.progress(None, "comparing", "pair", math.comb(len(found.candidates), 2)) as bar:
        found = ranking.with_every_pair(found, jobs, read, bar.update)
    _print_sweep(found)
    _write(pairwise.as_json(found), comparison_page.sweep(found), out, words.json)


def _run_predictions(run: "Record", split: str) -> "RunPredictions":
    from kesikaran.analysis import run_predictions
    from kesikaran.tracking import artifacts, queries

    rows = artifacts.predictions(run.run_id, artifacts.OOF_PREDICTIONS if split == "oof" else artifacts.PREDICTIONS)
    return run_predictions.run_predictions(run.run_id, run.name, run.tags, queries.settings(run), rows, split)


def _destinations(words: argparse.Namespace, name: str) -> Path:
    """Where the page goes; before any work, that it and the JSON may be written."""
    from kesikaran.reports import document

    out = words.html or paths.cache_dir() / "compare" / f"{name}.html"
    document.check(out, "--html")
    if words.json and words.json.is_dir():
        raise InputError(f"--json {words.json} is not allowed: it is a folder")
    for path, option in ((out, "--html"), (words.json, "--json")):
        if path:
            files.writable(path.parent, "folder", f"give another with {option}")
    return out


def _pictures(
    params: dict[str, str], names: "dict[str, pd.Series]", words: argparse.Namespace
) -> "tuple[dict[str, list[Thumbnail]], str]":
    """(thumbnails for each kind of image, what is to be said of those without a picture). A folder that is gone is an
    error only where it was given. params: the settings of run A."""
    from kesikaran.data import data_source
    from kesikaran.reports import thumbnails
    from kesikaran.reports.thumbnails import Thumbnail

    try:
        images = data_source.images_folder(words.images, params)
    except InputError as error:
        if words.images:
            raise
        made = {kind: [Thumbnail(name, None, "no folder") for name in ids] for kind, ids in names.items()}
        return made, f"\nThe page has no pictures: {error}\n"
    most = data_source.max_megapixels(params)
    made = {kind: thumbnails.make(ids, images, most, not words.no_blur) for kind, ids in names.items()}
    lacking = thumbnails.missing(one for part in made.values() for one in part)
    if not lacking:
        return made, ""
    kinds = ", ".join(f"{kind} {count}" for kind, count in lacking.items())
    count = sum(lacking.values())
    return made, f"\n{count} images have no picture ({kinds}) in {images}; --images gives another folder.\n"


def _print_pair(found: "Pair") -> None:
    import pandas as pd

    from kesikaran.analysis.wording import in_words, p_in_words
    from kesikaran.reports import columns

    for label, run in (("A", found.a), ("B", found.b)):
        print(f"{label}: run {run.run_id} ({printable(run.name)})")
    for key, (a, b) in found.params.items():
        print(f"   {printable(f'{key}: {a} in A, {b} in B')}")
    print(f"\n{found.n:,} {found.split} images, {found.ones:,} of label 1; {100 * found.confidence:g} % intervals\n")
    rows = {
        name: {
            "A": in_words(found.a.metrics[name]),
            "B": in_words(found.b.metrics[name]),
            "B - A": in_words(one),
            "p": p_in_words(one.p_value),
            "test": one.test,
        }
        for name, one in found.differences.items()
    }
    print(columns.fitted(pd.DataFrame(rows).T))
    print(
        f"\nRight in both {found.both_right:,}, in A only {found.only_a_right:,}, in B only {found.only_b_right:,}, "
        f"wrong in both {found.both_wrong:,}.\n\n{found.conclusion}"
    )
    print("\n".join(["", *found.remarks]))


def _print_sweep(found: "SweepComparison") -> None:
    from kesikaran.reports import columns, sweep_report

    images = f"{found.n:,} {found.split} images, {found.ones:,} of label 1"
    print(f"Sweep {found.sweep_id}: {images}; {'the best by validation first' if found.names_best else 'by seed'}\n")
    print(columns.fitted(sweep_report.ranked(found).set_index("job").rename_axis(None)))
    print("\n".join(["", found.conclusion, *found.beside, "", *found.remarks]))


def _write(content: dict[str, Any], html: str, out: Path, json_file: Path | None) -> None:
    from kesikaran.reports import document

    if json_file:
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        try:
            files.write_whole(json_file, text)
        except OSError as error:
            raise InputError(f"{json_file} cannot be written: {error.strerror or error}") from None
    document.write(html, out, "--html")
    print(f"\nLook at it in a browser:  {out.absolute().as_uri()}")
