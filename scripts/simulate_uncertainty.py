"""Simulations of how often the interval of `experiment=uncertainty` holds the truth: `python
scripts/simulate_uncertainty.py`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from kesikaran.analysis import uncertainty
from kesikaran.core import terminal
from kesikaran.metrics.predictions import Predictions
from kesikaran.training import halves

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(101)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """Images are normal in `width` features, the means of their labels `distance` apart, along every feature alike.

    train, test: numbers of images; the test split has as many of one label as of the other. A label of a training image
    is 1 with probability `share`. Images of a group of size `group` have a label, and the part 0.5 of their variance,
    in common. A seed leaves out a tenth of the training rows and `blind` of the features.
    """

    train: int
    test: int
    width: int = 20
    distance: float = 2.0
    share: float = 0.5
    group: int = 1
    blind: int = 2

    @property
    def name(self) -> str:
        grouped = f", groups of {self.group}" if self.group > 1 else ""
        return f"{self.train:,} / {self.test:,}, {self.width} features{grouped}"


@dataclass(frozen=True)
class Sample:
    features: np.ndarray  # float64 [n, width]
    labels: np.ndarray  # int [n]
    groups: np.ndarray  # int [n]


def draw(world: World, labels: np.ndarray, random: np.random.Generator) -> Sample:
    """labels: of the groups, int [groups]."""
    groups = np.repeat(np.arange(len(labels)), world.group)
    noise = random.normal(size=(len(groups), world.width))
    if world.group > 1:
        noise = (noise + random.normal(size=(len(labels), world.width))[groups]) / np.sqrt(2)
    mean = world.distance * (labels[groups] - 0.5) / np.sqrt(world.width)
    return Sample(noise + mean[:, None], labels[groups], groups)


def draw_train(world: World, random: np.random.Generator) -> Sample:
    while True:
        labels = (random.random(world.train // world.group) < world.share).astype(int)
        if 2 <= labels.sum() <= len(labels) - 2:
            return draw(world, labels, random)


def fit(world: World, sample: Sample, rows: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """A linear discriminant (Fisher 1936) with a little ridge: weights [width] and bias. rows: int [k]."""
    random = np.random.default_rng(seed)
    rows = rows[random.random(len(rows)) < 0.9]
    width = sample.features.shape[1]
    seen = np.sort(random.permutation(width)[world.blind :])
    x, y = sample.features[rows][:, seen], sample.labels[rows]
    means = np.array([x[y == label].mean(axis=0) for label in (0, 1)])
    inside = x - means[y]
    covariance = inside.T @ inside / (len(rows) - 2) + 0.01 * np.eye(len(seen))
    weights = np.zeros(width)
    weights[seen] = np.linalg.solve(covariance, means[1] - means[0])
    bias = np.log(y.sum() / (1 - y).sum()) - weights[seen] @ means.mean(axis=0)
    return weights, float(bias)


def truth(world: World, weights: np.ndarray, bias: float) -> dict[str, float]:
    """The metrics of a model in the population, which has as many of one label as of the other."""
    std = float(np.linalg.norm(weights))
    shift = world.distance * float(weights.sum()) / np.sqrt(world.width) / 2
    recall, miss = norm.cdf((bias + shift) / std), norm.cdf((bias - shift) / std)  # miss: false-positive rate
    ones, zeros = bias + shift + std * _NODES, bias - shift + std * _NODES
    hit, wrong = norm.sf((ones - bias - shift) / std), norm.sf((ones - bias + shift) / std)
    return {
        "accuracy": (recall + 1 - miss) / 2,
        "balanced_accuracy": (recall + 1 - miss) / 2,
        "f1": 2 * recall / (1 + recall + miss),
        "roc_auc": norm.cdf(2 * shift / std / np.sqrt(2)),
        "pr_auc": float(_WEIGHTS @ (hit / (hit + wrong))),
        "log_loss": float(_WEIGHTS @ (np.logaddexp(0, -ones) + np.logaddexp(0, zeros))) / 2,
        "brier": float(_WEIGHTS @ ((1 / (1 + np.exp(ones))) ** 2 + (1 / (1 + np.exp(-zeros))) ** 2)) / 2,
    }


def models(
    world: World, train: Sample, test: Sample, seeds: list[int], cuts: int, random: np.random.Generator
) -> dict[tuple[int, int], Predictions]:
    """What `experiment=uncertainty` trains: (half, seed) -> predictions of the test images."""
    grouped = world.group > 1
    found = {}
    first = int(random.integers(0, 2**31))
    for half in range(2 * cuts + 1):
        number = half + 2 * first if half else 0  # other cuts in each sample
        rows = halves.rows(train.labels, train.groups if grouped else None, number)
        for seed in seeds:
            weights, bias = fit(world, train, rows, seed)
            logits = test.features @ weights + bias
            found[half, seed] = Predictions.from_logits(test.labels, logits, test.groups if grouped else None)
    return found


def coverage(world: World, words: argparse.Namespace, step: Callable[[], object]) -> pd.DataFrame:
    """Rows: metrics. Columns: the share of intervals that hold the metric of a new model, that lie above and below it,
    that hold its expectation and the metric of the model at hand, and the shares of the sources in the variance."""
    random = np.random.default_rng(words.seed)
    found, new, own = [], [], []
    for _ in range(words.samples):
        train = draw_train(world, random)
        test = draw(world, np.arange(world.test // world.group) % 2, random)
        seeds = random.integers(0, 2**32, words.seeds + 1).tolist()
        found.append(uncertainty.estimate(models(world, train, test, seeds[1:], words.cuts, random), 0.95))
        own.append(truth(world, *fit(world, train, np.arange(len(train.labels)), seeds[1])))
        again = draw_train(world, random)
        new.append(truth(world, *fit(world, again, np.arange(len(again.labels)), seeds[0])))
        step()
    table = {}
    for name in found[0].index:
        rows = pd.DataFrame([one.loc[name] for one in found])
        theirs = {key: np.array([one[name] for one in truths]) for key, truths in (("new", new), ("own", own))}
        low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
        expected = float(theirs["new"].mean())
        table[name] = {
            "a new model": np.mean((low <= theirs["new"]) & (theirs["new"] <= high)),
            "wholly above": np.mean(low > theirs["new"]),
            "wholly below": np.mean(high < theirs["new"]),
            "its expectation": np.mean((low <= expected) & (expected <= high)),
            "the model at hand": np.mean((low <= theirs["own"]) & (theirs["own"] <= high)),
            **{f"share of {source}": rows[source].mean() for source in uncertainty.SOURCES},
        }
    return pd.DataFrame(table).T


WORLDS = (
    *(World(train, test) for train in (300, 2000) for test in (150, 1000)),
    World(1000, 500, group=5),
)


def table(title: str, frame: pd.DataFrame) -> str:
    lines = [f"| {' | '.join(['', *frame.columns])} |", "|---" * (len(frame.columns) + 1) + "|"]
    lines += [
        f"| {' | '.join([str(name), *(f'{100 * value:.1f}' for value in row)])} |" for name, row in frame.iterrows()
    ]
    return "\n".join([f"\n{title}\n", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Repeat experiment=uncertainty on made-up features and print, as Markdown, how often its 95 %% "
        "interval holds the metric of a model that is trained anew."
    )
    parser.add_argument("--samples", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--cuts", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    words = parser.parse_args()
    print(
        f"{words.samples} samples, seed {words.seed}, {words.cuts} cuts, {words.seeds} seeds; the titles are training "
        "images / test images. All numbers in %."
    )
    with terminal.progress(None, "simulating", "sample", words.samples * len(WORLDS)) as bar:
        for world in WORLDS:
            print(table(world.name, coverage(world, words, bar.update)), flush=True)


if __name__ == "__main__":
    main()
