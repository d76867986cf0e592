"""A simulation of the optimism of the best of several jobs: `python scripts/simulate_selection.py`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from kesikaran.analysis import selection
from kesikaran.core import terminal
from kesikaran.metrics import binary, intervals
from kesikaran.metrics.predictions import Predictions

JOBS = 16
_POINTS = 80  # of the quadrature by which a log loss is known


@dataclass(frozen=True)
class World:
    """Sixteen jobs that are scored on the same images, of which half have label 1.

    images: of a sample. alike: the correlation of the scores of two jobs, given the label. distances: of each job, how
    far the means of its scores are apart, whose variance is 1. name: of the distances.
    """

    images: int
    alike: float
    distances: tuple[float, ...]
    name: str

    @property
    def title(self) -> str:
        return f"{self.images:,} images, correlation {self.alike:g}, {self.name}"


KINDS = {
    "all equal": (2.0,) * JOBS,
    "from a little worse to best": tuple(np.linspace(1.7, 2.0, JOBS).tolist()),
    "4 bad, 12 equal": (1.0,) * 4 + (2.0,) * 12,
    "1 better, 15 equal": (2.3,) + (2.0,) * 15,
}
WORLDS = [
    World(images, alike, distances, name)
    for name, distances in KINDS.items()
    for images in (150, 2600)
    for alike in (0.8, 0.99)
]


def draw(world: World, random: np.random.Generator) -> list[Predictions]:
    """The predictions of all jobs on one sample. The logits are the true log-odds."""
    labels = np.arange(world.images) % 2
    common = random.normal(size=world.images)
    predictions = []
    for distance in world.distances:
        own = random.normal(size=world.images)
        seen = np.sqrt(world.alike) * common + np.sqrt(1 - world.alike) * own + distance * (labels - 0.5)
        predictions.append(Predictions.from_logits(labels, distance * seen))
    return predictions


def truth(distance: float, metric: str) -> float:
    """The metric of a job in the population."""
    if metric == "roc_auc":
        return float(norm.cdf(distance / np.sqrt(2)))
    points, weights = np.polynomial.hermite_e.hermegauss(_POINTS)
    return float(np.average(np.logaddexp(0.0, -distance * (points + distance / 2)), weights=weights))


def simulate(world: World, metric: str, samples: int, step: Callable[[], object], seed: int) -> list[float]:
    """[true optimism, mean of the estimate, its standard deviation, coverage without and with the correction].

    The optimism is signed so that it is above 0 where the best looks better than it is.
    """
    random = np.random.default_rng(seed)
    scores = binary.roc_aucs if metric == "roc_auc" else binary.log_losses
    true = np.array([truth(distance, metric) for distance in world.distances])
    sign = 1 if metric == "roc_auc" else -1
    rows = []
    for _ in range(samples):
        predictions = draw(world, random)
        found = selection.corrected(predictions, metric, 0.95)
        seen, worth = intervals.intervals(predictions[found.best])[metric], float(true[found.best])
        held = [one.low <= worth <= one.high for one in (seen, found.expected)]
        # The errors of all jobs have the mean 0: without theirs the true optimism takes fewer samples to be known.
        errors = scores(predictions[0].labels, np.stack([one.logits for one in predictions])) - true
        rows.append([sign * (errors[found.best] - errors.mean()), found.optimism, *held])
        step()
    values = np.array(rows, float)
    means = values.mean(axis=0).tolist()
    return [means[0], means[1], float(values[:, 1].std()), means[2], means[3]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Draw the scores of 16 jobs, take the best by a metric on the sample, and print, as Markdown, by "
        "how much that flatters it, what the estimate of this says, and how often the interval of the best holds the "
        "truth."
    )
    parser.add_argument("--samples", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    words = parser.parse_args()
    print(f"{words.samples} samples a row, seed {words.seed}. The best of {JOBS} jobs; intervals promise 95 %.")
    with terminal.progress(None, "simulating", "sample", 2 * len(WORLDS) * words.samples) as bar:
        for metric in ("roc_auc", "log_loss"):
            print(
                f"\n{metric}\n\n| | true optimism | estimate, mean | its spread | covers as seen | covers corrected |"
            )
            print("|---|---|---|---|---|---|")
            for world in WORLDS:
                true, mean, spread, raw, held = simulate(world, metric, words.samples, bar.update, words.seed)
                print(
                    f"| {world.title} | {true:.4f} | {mean:.4f} | {spread:.4f} | {100 * raw:.1f} | {100 * held:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
