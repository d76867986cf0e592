"""The metrics of predictions, without their intervals."""

import dataclasses

from kesikaran.config.metric_names import Kind
from kesikaran.config.schema import CALIBRATION_BINS
from kesikaran.metrics import binary, calibration, influence
from kesikaran.metrics.predictions import Predictions


def score(predictions: Predictions, calibration_bins: int = CALIBRATION_BINS) -> dict[str, float]:
    """Every metric of `influence.metrics` for n >= 1 images, in its order, and the counts n tn fp fn tp.

    NaN where a metric is undefined: see `influence.of` and `calibration.calibration_error`.
    """
    counts = binary.confusion(predictions)
    parts = influence.of(predictions)
    values = {
        name: calibration.calibration_error(predictions, calibration_bins)
        if metric.kind is Kind.calibration
        else parts[name].value
        for name, metric in influence.metrics(predictions).items()
    }
    return values | {"n": counts.total} | dataclasses.asdict(counts)
