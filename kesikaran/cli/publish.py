"""A trained model as one folder, and as a version in MLflow's registry: `kesikaran publish RUN --out FOLDER`"""

import argparse
import dataclasses
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.cli import door, model_of
from kesikaran.config.schema import PublishConfig
from kesikaran.core import terminal
from kesikaran.core.errors import InputError, printable

if TYPE_CHECKING:
    from kesikaran.publish.predictor import Predictor
    from kesikaran.tracking.queries import Record

_KEYS = [f.name for f in dataclasses.fields(PublishConfig)]
_HELP = """\
Writes the model of a finished run as one folder that needs nothing of this program: a SavedModel, .tflite files, a page
that classifies in a browser, the threshold and the band, a model card, and parity.csv, which says how far each copy is
from what the run has logged on its validation and test images.

  kesikaran publish RUN --out FOLDER
  kesikaran publish RUN --out FOLDER publish.max_difference=0.01
  kesikaran publish RUN --out FOLDER --register NAME --alias champion
"""


def main() -> None:
    """The command line. Exit codes: 0 done; 1 an error, a copy that is beyond its tolerance too."""
    parser = argparse.ArgumentParser(
        prog="kesikaran publish", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN",
        help="a run's id or name, a sweep's (its best job by validation), or models:/NAME@ALIAS; beside it "
        "publish.KEY=VALUE, how far a copy may be from the run, where that is not as the run has it: "
        f"{', '.join(_KEYS)}",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the folder, which appears when it is whole")
    parser.add_argument("--force", action="store_true", help="replace a published folder")
    parser.add_argument("--no-page", action="store_true", help="without index.html, which needs npm the first time")
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="of the run's images; default: where it read them"
    )
    parser.add_argument("--register", metavar="NAME", help="make the model a version of this registered model")
    parser.add_argument("--alias", help="with --register: let this alias name the version")
    words = door.words(parser, intermixed=True)
    words.settings = [word for word in words.words if re.match(r"publish\.\w+=", word)]
    words.runs = [word for word in words.words if word not in words.settings]
    with door.opened("Stopped; nothing is left of the folder."):
        _publish(words)


def _publish(words: argparse.Namespace) -> None:
    from kesikaran.tracking import queries, registry

    _check(words)
    if words.register:
        registry.need_names(words.register, words.alias)
    (model,) = words.runs
    if Path(model).is_dir():
        raise InputError(f"{printable(model)} is a folder; a run is published: give its id or name")
    predictor = model_of.find(model)
    record = queries.finished(predictor.facts.run_id)
    if words.register:
        registry.need_registrable(record)
    if words.out:
        _write(words, predictor, record)
    if words.register:
        version = registry.register(record, words.register)
        print(f"Version {version} of the registered model {printable(words.register)} is run {record.run_id}.")
        for remark in registry.gate_remarks(record):
            print(remark)
        if words.alias is not None:
            registry.set_alias(words.register, words.alias, version)
            print(f"models:/{printable(words.register)}@{words.alias} names it.")


def _check(words: argparse.Namespace) -> None:
    if len(words.runs) != 1:
        raise InputError(
            f"{len(words.runs)} runs are given ({printable(' '.join(words.runs))}): give one, and beside it only "
            "publish.KEY=VALUE"
        )
    if not words.out and not words.register:
        raise InputError("nothing to do: give --out FOLDER, --register NAME, or both")
    if words.alias is not None and not words.register:
        raise InputError("--alias is not allowed without --register NAME, whose version it names")
    idle = {printable(" ".join(words.settings)): words.settings, "--force": words.force, "--no-page": words.no_page,
            "--images": words.images}  # fmt: skip
    for option, given in idle.items():
        if given and not words.out:
            raise InputError(f"{option} is not allowed without --out FOLDER, which it is for")


def _write(words: argparse.Namespace, predictor: "Predictor", record: "Record") -> None:
    from kesikaran.config import reconfigure
    from kesikaran.data import data_source
    from kesikaran.tracking import artifacts

    with terminal.quiet_start():
        from kesikaran.publish import folder
    tolerance = reconfigure.tolerance(artifacts.text(record.run_id, "config.yaml"), words.settings, record.run_id)
    folder.check(words.out, words.force)
    rows = artifacts.predictions(record.run_id)
    images = data_source.images_folder(words.images, record.params)
    run = folder.Run(record, rows, artifacts.prevalences(record.run_id), images)
    found = folder.write(words.out, predictor, run, tolerance, not words.no_page, words.force)
    print("\nAgainst what the run has logged, of validation and test:\n")
    print(folder.parity.table(found.copies).to_string(index=False, float_format=lambda value: f"{value:.2g}"))
    print(f"\nPublished in {words.out}: begin with its README.md")
    for sentence in found.left_out:
        print(sentence.replace("`", ""))
    if not words.no_page:
        print(f"Classify in a browser:  {(words.out.absolute() / 'index.html').as_uri()}")
    print(f"Or:  kesikaran predict {shlex.quote(str(words.out))} PHOTOS --out predictions.csv")
