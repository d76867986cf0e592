"""The labels that a cross-validation doubts most, to look at: `kesikaran data label-doubts [RUN_ID]`."""

import argparse
import shlex
from pathlib import Path

from kesikaran.cli import door
from kesikaran.core import paths
from kesikaran.core.errors import InputError


def main() -> None:
    """The command line. Exit codes: 0 done, also where pictures are missing; 1 an error; 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        description="Write one HTML file with thumbnails of the images whose labels the model doubts most, from "
        "label_doubts.csv of an experiment=cv. It works offline and changes no label: there you tick those that are "
        "wrong and save them as corrections.csv, for kesikaran data relabel. Never inside the repository."
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="the sweep of experiment=cv, by id, "
                        "beginning of an id or name; default: the latest that finished")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER/page.html", help="default: label_doubts/RUN_ID.html in "
                        "kesikaran's cache folder")  # fmt: skip
    parser.add_argument("--top", type=int, default=100, metavar="N", help="images; default: %(default)s")
    parser.add_argument("--blur", action="store_true", help="blurred thumbnails: the sharp ones are not in the file")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="default: the folder that the run read")
    words = door.words(parser)
    with door.opened("Stopped. Nothing was written."):
        if words.top < 1:
            raise InputError(f"--top {words.top} is not allowed: at least 1")
        from kesikaran.reports import label_page
        from kesikaran.tracking import artifacts, queries

        run_id, table = artifacts.label_doubts(words.run and queries.find(words.run).run_id)
        params = settings(run_id)
        images, most = images_read(words.images, run_id, params)
        out = words.out or paths.cache_dir() / "label_doubts" / f"{run_id}.html"
        missing = label_page.write(table, words.top, images, most, out, f"Label doubts of run {run_id}", words.blur)
    print(f"{min(words.top, len(table))} of {len(table)} images, the most doubted of run {run_id}.")
    if missing:
        kinds = ", ".join(f"{kind} {count}" for kind, count in missing.items())
        print(f"{sum(missing.values())} without a picture ({kinds}) in {images}; --images FOLDER gives another folder.")
    print(f"Look at it in a browser:  {out.absolute().as_uri()}")
    print(next_step(params))


def settings(run_id: str) -> dict[str, str]:
    """The settings on data of a run's jobs, which all have the same; nothing where the jobs are gone."""
    from kesikaran.tracking import queries

    jobs = queries.jobs(run_id)
    return jobs[0].params if jobs else {}


def images_read(given: Path | None, run_id: str, params: dict[str, str]) -> tuple[Path, float]:
    """(the folder of images as given, else as the run's jobs read it; the megapixels up to which they did)."""
    from kesikaran.data import data_source

    if not params and not given:
        raise InputError(f"the jobs of run {run_id} are gone, and with them its folder of images; give --images")
    return data_source.images_folder(given, params), data_source.max_megapixels(params)


def next_step(params: dict[str, str]) -> str:
    """What to do with the page, by the settings of the run."""
    from kesikaran.data import data_source
    from kesikaran.data.relabel import DERIVED

    if params.get("data.source") in [one.name for one in data_source.EMBEDDED]:
        return "These are the demo's own labels, which stay as they are; of your own images you can correct them."
    labels = Path(params.get("data.labels", "")).expanduser().absolute()
    # A file that is made of label.csv would be made of the old labels once more, were it corrected alone.
    whole = labels.parent / "label.csv"
    corrected = labels.parent if labels.name in ("label.csv", *DERIVED) and whole.is_file() else labels
    data = shlex.quote(str(corrected)) if labels.is_file() else "DATA"
    return (
        "Tick there what is wrong and save it as corrections.csv. Nothing is changed before you type:\n"
        f"  kesikaran data relabel {data} corrections.csv"
    )
