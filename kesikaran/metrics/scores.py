"""The metrics of predictions, without their intervals."""

import dataclasses

from kesikaran.metrics import binary, calibration, influence
from kesikaran.metrics.predictions import Predictions


def score(outcome: Predictions, calibration_bins: int = 10) -> dict[str, float]:
    """Every metric of the catalogue for n >= 1 images, and the counts n tn fp fn tp.

    NaN where a metric is undefined: see `influence.of` and `calibration.calibration_error`.
    """
    counts = binary.confusion(outcome)
    values = {name: part.value for name, part in influence.of(outcome).items()}
    values["calibration_error"] = calibration.calibration_error(outcome, calibration_bins)
    return values | {"n": counts.total} | dataclasses.asdict(counts)
