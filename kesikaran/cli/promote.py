"""A run takes the place of a registered model, where it is better or not worse: `kesikaran promote RUN --over ...`."""

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from kesikaran.cli import door
from kesikaran.core.errors import InputError, printable

if TYPE_CHECKING:
    from kesikaran.analysis.promotion import Judgement
    from kesikaran.analysis.run_predictions import RunPredictions
    from kesikaran.tracking.queries import Record
    from kesikaran.tracking.registry import Registered

_NOT_PROMOTED_EXIT = 3  # as of a gate that failed: the work was done, and the model is not good enough
_HELP = """
Compares a finished run with the run behind an alias of MLflow's registry, image by image on their common test split,
and moves the alias to the run only where the run is really better, or not worse by a margin.

  kesikaran promote RUN --over models:/NAME@champion
  kesikaran promote RUN --over models:/NAME@champion --margin 0              it must be better
  kesikaran promote RUN --over models:/NAME@champion --metric log_loss --margin 0.01

The margin is the loss that you would not mind, in the unit of the metric. Where none is given it is 0.02: two images in
a hundred of accuracy (and two pairs in a hundred of ROC AUC), about what another training seed changes. A loss has no
such natural margin: give one. The metric is the one that both runs were to be judged by (evaluation.verdict).
"""


def main() -> None:
    """The command line. Exit codes: 0 the alias names the run, 3 it was not moved, 1 an error, 128 + a signal's
    number."""
    parser = argparse.ArgumentParser(
        prog="kesikaran promote",
        description=_HELP,
        epilog="exit codes: 0 the alias names the run, 3 the run is not good enough, 1 a mistake",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="an id, the beginning of one, or a name")
    parser.add_argument("--over", required=True, metavar="models:/NAME@ALIAS", help="the alias, and whose place it is")
    parser.add_argument("--margin", type=float, metavar="M", help="0 to 0.1; 0: must be better; default: 0.02, none "
                        "for a loss")  # fmt: skip
    parser.add_argument("--metric", metavar="METRIC", help="default: evaluation.verdict of both runs")
    words = door.words(parser)
    with door.opened("Stopped."):
        is_promoted = _promote(words)
    if not is_promoted:
        sys.exit(_NOT_PROMOTED_EXIT)


def _promote(words: argparse.Namespace) -> bool:
    """Whether the alias names the run now."""
    from kesikaran.analysis import promotion
    from kesikaran.tracking import queries, registry

    asked = registry.parse(words.over)
    if asked.alias is None:
        raise InputError(f"--over {printable(words.over)} is not allowed: a version stays what it is, give NAME@ALIAS")
    new, old = queries.find(words.run), registry.resolve(words.over)
    if new.run_id == old.record.run_id:
        print(f"{words.over} is {_title(new)} already, version {old.version}: nothing is changed.")
        return True
    registry.need_registrable(new)
    found = promotion.judge(_predictions(old.record), _predictions(new), words.metric, words.margin)
    _print(found, old, new, words.over)
    if not found.passes:
        print(f"\n{words.over} stays version {old.version}.")
        return False
    version = registry.register(new, asked.name)
    registry.set_alias(asked.name, asked.alias, version, instead_of=old.version)
    name, over = shlex.quote(asked.name), shlex.quote(words.over)
    print(
        f"\n{words.over} is version {version} now, {_title(new)}.\n"
        f"Use it:      kesikaran predict {over} PATHS...\n"
        f"Back again:  kesikaran publish {old.record.run_id} --register {name} --alias {asked.alias}"
    )
    return True


def _predictions(run: "Record") -> "RunPredictions":
    from kesikaran.analysis import promotion, run_predictions
    from kesikaran.tracking import artifacts

    rows = artifacts.predictions(run.run_id)
    return run_predictions.run_predictions(run.run_id, run.name, run.tags, run.params, rows, promotion.SPLIT)


def _print(found: "Judgement", old: "Registered", new: "Record", over: str) -> None:
    from kesikaran.analysis import promotion
    from kesikaran.tracking import registry

    print(f"Old: {over}, version {old.version}, {_title(old.record)}\nNew: {_title(new)}\n")
    print(f"{promotion.figures(found)}\n{promotion.reason(found)}\n")
    print("\n".join([*found.remarks, *registry.gate_remarks(new), *_looks(new)]))


def _looks(new: "Record") -> list[str]:
    """How often the test split has been looked at."""
    from kesikaran.analysis import selection
    from kesikaran.tracking import queries

    if not (split := new.tags.get("split_fingerprint")):
        return []
    count = queries.finished_count(split)
    runs = "1 finished run was" if count == 1 else f"{count:,} finished runs were"
    return selection.looks(count) or [
        f"{runs} scored on this very split: each promotion by it makes it less of a test."
    ]


def _title(record: "Record") -> str:
    return f"run {record.run_id} ({printable(record.name)})"
