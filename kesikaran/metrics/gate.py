"""The gate: whether a run reaches the least that a pipeline asks of a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

FAILED_EXIT = 3  # the exit code of a process that did its work and whose model is not good enough


@dataclass(frozen=True)
class Verdict:
    """passed: whether the gate lets the run through. sentence: one line with the metric, its interval and the least."""

    passed: bool
    sentence: str

    def tags(self) -> dict[str, str]:
        """The tags of a run: `gate`, passed or failed, and `gate_judged`, the sentence."""
        return {"gate": "passed" if self.passed else "failed", "gate_judged": self.sentence}


def judge(metric: str, least: float, metrics: Mapping[str, float]) -> Verdict:
    """Whether the lower end of a metric's interval reaches `least`.

    The value itself is not compared: a classifier that is exactly as good as `least` has a higher value on half of all
    samples of images, and a higher lower end of its 95 % interval on one in forty.

    Args:
        metric: such as test/roc_auc; higher is better.
        metrics: as a run logs them: `test/roc_auc`, `test/roc_auc_low`, `test/roc_auc_high`. A metric
            that is missing or NaN is undefined, and an undefined metric does not pass.
    """
    value, low, high = (metrics.get(f"{metric}{end}", math.nan) for end in ("", "_low", "_high"))
    if math.isnan(low):
        return Verdict(False, f"{metric} is undefined on these images, and {least:g} was asked for")
    passed = low >= least
    end = f"the lower end {'reaches' if passed else 'is below'} {least:g}"
    return Verdict(passed, f"{metric} {value:.4f} [{low:.4f}, {high:.4f}]: {end}")
