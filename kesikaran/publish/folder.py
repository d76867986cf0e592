"""A model as one folder that needs nothing of this program, in which every copy was compared with the run."""

import json
import math
import os
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from kesikaran.config.schema import JpegDecode, PublishConfig
from kesikaran.core import files, scratch, terminal
from kesikaran.core.errors import InputError
from kesikaran.publish import card, page, parity, tflite
from kesikaran.publish.card import Copy
from kesikaran.publish.facts import FILE as FACTS_FILE
from kesikaran.publish.page import PageFacts
from kesikaran.publish.parity import Logits, Parity
from kesikaran.publish.predictor import Predictor
from kesikaran.tracking.queries import Record

SAVED_MODEL, FLOAT16, INT8 = "saved_model", "model.tflite", "model_int8.tflite"
_WHAT = {
    SAVED_MODEL: "TensorFlow's SavedModel: encoded images in",
    FLOAT16: "TensorFlow Lite, weights of 16 bits: prepared pixels in",
    INT8: "TensorFlow Lite, 8 bits but for the layers next to the pixels",
}
_CALIBRATED_ON = 100  # training images


@dataclass(frozen=True)
class Run:
    """What a folder is filled from. predictions: `predictions.parquet` of the run. prevalences: its `prevalences.csv`,
    None where it has none. images: the folder of its images."""

    record: Record
    predictions: pd.DataFrame
    prevalences: pd.DataFrame | None
    images: Path


@dataclass(frozen=True)
class Written:
    """copies: how far each is from the run. left_out: a sentence for each copy that is not there."""

    copies: list[Parity]
    left_out: list[str]


def check(out: Path, force: bool) -> None:
    """Raises InputError where the folder may not be written: it is there and not `force`, there and no published
    folder, a file, or in a folder that cannot be written."""
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / SAVED_MODEL / FACTS_FILE).is_file():
            raise InputError(f"--out {out} is there already and no published folder; give another")
        if not force:
            raise InputError(f"--out {out} is there already; give another folder, or --force to replace it")
    files.writable(out.resolve().parent, "folder of --out", "give another with --out")


def write(out: Path, predictor: Predictor, run: Run, tolerance: PublishConfig, with_page: bool, force: bool) -> Written:
    """Write the folder. It appears when it is whole, and with `force` replaces one that is there by then.

    Raises:
        InputError: as of `check`, for a folder that has appeared meanwhile too; a copy is beyond the tolerance, an
            image of the run is gone, TensorFlow Lite or the page cannot do what the model does, LiteRT.js cannot be
            got, or the disk is full. Nothing is left of the folder then.
    """
    target = out.resolve()  # a link stays one
    with (
        files.disk_space(f"the folder {target.parent}", "or give another with --out"),
        scratch.held_folder(target.parent, ".publishing-") as held,
    ):
        making = held / "made"
        making.mkdir()
        found = _fill(making, predictor, run, tolerance, with_page, target)
        with terminal.sheltered():
            check(out, force)  # of two commands that write one folder, the later one ends here
            if target.exists():
                os.rename(target, held / "replaced")
            os.rename(making, target)
        return found


def _fill(
    folder: Path, predictor: Predictor, run: Run, tolerance: PublishConfig, with_page: bool, out: Path
) -> Written:
    about = _page_facts(predictor, run) if with_page else None
    if about:
        page.check(about)
    copy = _copied(predictor, folder / SAVED_MODEL)
    contents = _tflites(copy, run)
    formats: dict[str, Logits] = {SAVED_MODEL: parity.of_module(copy)}
    formats |= {name: parity.of_tflite(content) for name, content in contents.items()}
    found = parity.measure(copy, run.predictions, run.images, formats)
    by_format = {name: [one for one in found if one.format == name] for name in formats}
    left_out = []
    for name, of_format in by_format.items():
        if name == INT8:
            if why := parity.drifted(of_format, tolerance, is_int8=True):
                left_out.append(f"There is no `{INT8}`: with 8 bits {why}.")
                del contents[INT8]
        elif why := parity.drifted(of_format, tolerance):
            raise InputError(f"{name} is not what run {run.record.run_id} has logged: {why}; nothing is published")
    found = [one for one in found if one.format in (SAVED_MODEL, *contents)]
    for name, content in contents.items():
        files.write_whole(folder / name, content)
    files.write_whole(folder / "parity.csv", parity.table(found).to_csv(index=False))
    files.write_whole(folder / "labels.json", json.dumps(labels(predictor), indent=1, allow_nan=False) + "\n")
    if about:
        page.write(folder, contents[FLOAT16], about)
    copies = [_copy(folder, name, [one for one in found if one.format == name]) for name in (SAVED_MODEL, *contents)]
    if with_page:
        copies.append(Copy("index.html", "classifies in a browser, offline", _size(folder / "browser"), None, None))
    text = card.render(run.record, predictor.facts, run.prevalences, copies, left_out, tolerance, out)
    files.write_whole(folder / "README.md", text)
    return Written(found, left_out)


def _copied(predictor: Predictor, saved_model: Path) -> Predictor:
    """The model of a copy of the SavedModel, whose files may be changed and removed as any: those of a run are
    read-only."""
    shutil.copytree(predictor.saved_model, saved_model)
    for path in (saved_model, *saved_model.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Predictor(saved_model, predictor.facts)


def _tflites(predictor: Predictor, run: Run) -> dict[str, bytes]:
    facts = predictor.facts
    train = run.predictions.loc[run.predictions["split"] == "train", "object_id"].sort_values().head(_CALIBRATED_ON)
    prepared: list[np.ndarray] = list(chain.from_iterable(parity.decoded(predictor, list(train), run.images)))
    size = facts.backbone.image_size
    print("Converting to TensorFlow Lite ...")
    return {
        FLOAT16: tflite.float16(predictor.module, size, facts.views),
        INT8: tflite.int8(predictor.module, size, facts.views, prepared),
    }


def labels(predictor: Predictor) -> dict[str, object]:
    """What `labels.json` holds: the labels by their numbers, and where each begins, in log-odds and as a probability.
    An end of the band is null where it has none."""
    facts = predictor.facts
    band = facts.band

    def end(value: float) -> dict[str, float | None]:
        return {"log_odds": value if math.isfinite(value) else None, "probability": float(expit(value))}

    return {
        "labels": ["0", "1"],
        "run_id": facts.run_id,
        "label_1_from": end(facts.threshold),
        "not_sure": band and {"from": end(band.low), "to": end(band.high), "error": band.error},
        "image_size": facts.backbone.image_size,
        "value_range": list(facts.backbone.value_range),
        "resize_method": facts.backbone.resize_method.name,
        "antialias": facts.backbone.antialias,
    }


def _page_facts(predictor: Predictor, run: Run) -> PageFacts:
    facts = predictor.facts
    config, band = facts.backbone, facts.band
    if config.jpeg_decode is not JpegDecode.full:
        raise InputError(
            f"the page cannot decode as backbone.jpeg_decode={config.jpeg_decode.name} does: publish with --no-page"
        )
    low, high = config.value_range
    return PageFacts(
        title=f"{facts.data}: {run.record.name}", image_size=config.image_size, value_range=(low, high),
        resize_method=config.resize_method.name, antialias=config.antialias, as_seen=config.as_seen,
        threshold=facts.threshold, band=(band.low, band.high) if band else None, error=band.error if band else None,
    )  # fmt: skip


def _copy(folder: Path, name: str, found: list[Parity]) -> Copy:
    changed = sum(one.changed_labels for one in found)
    difference = max(one.largest_difference for one in found)
    return Copy(f"{name}/" if name == SAVED_MODEL else name, _WHAT[name], _size(folder / name), changed, difference)


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) if path.is_dir() else path.stat().st_size
