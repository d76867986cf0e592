"""Simulations of how often intervals hold the truth and comparisons err: `python scripts/simulate.py`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from kesikaran.core import terminal
from kesikaran.metrics import intervals, paired, prevalence, scores
from kesikaran.metrics.predictions import Predictions

_POPULATION = 1_000_000


@dataclass(frozen=True)
class World:
    """A population of images of two labels.

    The scores of a label are normal with variance 1, and the means of the two labels are `distance` apart. The logit is
    the true log-odds times `stretch` (1: calibrated). zeros, ones: the images of each label in a sample. Images of a
    group of size `group` share the part `alike` of their variance, and their label unless `mixed`. The scores of two
    models have the correlation `twins`, given the label.
    """

    zeros: int
    ones: int
    distance: float = 2.0
    stretch: float = 1.0
    group: int = 1
    alike: float = 0.0
    mixed: bool = False
    twins: float = 0.8

    @property
    def name(self) -> str:
        kind = f", groups of {self.group}{' with both labels' if self.mixed else ''}" if self.group > 1 else ""
        stretched = f", logits x {self.stretch:g}" if self.stretch != 1 else ""
        apart = f", {self.distance:g} apart" if self.distance != 2 else ""
        twins = f", correlated {self.twins:g}" if self.twins != 0.8 else ""
        return f"{self.zeros} / {self.ones}{apart}{stretched}{twins}{kind}"


def draw(world: World, random: np.random.Generator, models: int = 1, better: float = 0.0) -> list[Predictions]:
    """The predictions of several models on the same images. The distance of each is larger by `better` than that of the
    one before it."""
    n = world.zeros + world.ones
    labels = (np.arange(n) >= world.zeros).astype(int)
    groups = np.arange(n) // world.group
    if world.mixed:
        groups = random.permutation(n) // world.group

    def noise() -> np.ndarray:
        alone, together = random.normal(size=n), random.normal(size=n)[groups]
        return np.sqrt(1 - world.alike) * alone + np.sqrt(world.alike) * together

    common, predictions = noise(), []
    for model in range(models):
        distance = world.distance + model * better
        seen = np.sqrt(world.twins) * common + np.sqrt(1 - world.twins) * noise() + distance * (labels - 0.5)
        logits = world.stretch * (distance * seen + np.log(world.ones / world.zeros))
        predictions.append(Predictions.from_logits(labels, logits, groups if world.group > 1 else None))
    return predictions


def truth(world: World) -> dict[str, float]:
    """Each metric in a population with the world's share of label 1."""
    share = world.ones / (world.zeros + world.ones)
    ones = int(_POPULATION * share)
    large = replace(world, zeros=_POPULATION - ones, ones=ones, group=1, alike=0.0)
    return scores.score(draw(large, np.random.default_rng(0))[0])


def coverage(world: World, samples: int, step: Callable[[], object], seed: int = 1) -> pd.DataFrame:
    """Rows: metrics. Columns: the share of 95 % intervals that hold the truth, are above it, are below it."""
    random, known = np.random.default_rng(seed), truth(world)
    known |= _in_use_truth(known)
    counts: dict[str, np.ndarray] = {}
    for _ in range(samples):
        (predictions,) = draw(world, random)
        found = intervals.intervals(predictions)
        at = prevalence.at(predictions, 0.01)
        found |= {"precision at 1 %": at.precision, "alerts at 1 %": at.alerts, "missed at 1 %": at.missed}
        for name, one in found.items():
            true = known[name]
            sides = np.array([one.low <= true <= one.high, true < one.low, true > one.high])
            counts[name] = counts.get(name, 0) + sides
        step()
    return pd.DataFrame(counts, index=["holds", "above", "below"]).T / samples


def _in_use_truth(target: dict[str, float]) -> dict[str, float]:
    hit, wrong = 0.01 * target["recall"], 0.99 * (1 - target["specificity"])
    alerts, missed = 1e4 * (hit + wrong), 1e4 * 0.01 * (1 - target["recall"])
    return {"precision at 1 %": hit / (hit + wrong), "alerts at 1 %": alerts, "missed at 1 %": missed}


def rejections(world: World, better: float, samples: int, step: Callable[[], object], seed: int = 2) -> pd.DataFrame:
    """Rows: metrics. Columns: the share of samples with p <= 0.05, and of intervals that hold the true difference."""
    random = np.random.default_rng(seed)
    first, second = truth(world), truth(replace(world, distance=world.distance + better))
    counts: dict[str, np.ndarray] = {}
    for _ in range(samples):
        a, b = draw(world, random, 2, better)
        for name, one in paired.compare(a, b).items():
            true = second[name] - first[name] if better else 0.0
            counts[name] = counts.get(name, 0) + np.array([one.p_value <= 0.05, one.low <= true <= one.high])
        step()
    return pd.DataFrame(counts, index=["rejects", "holds"]).T / samples


WORLDS = (
    World(75, 75),
    World(15, 15),
    World(130, 20),
    World(1161, 1161),
    World(75, 75, stretch=2.0),
    World(75, 75, distance=3.6),
    World(75, 75, group=5, alike=0.5),
    World(75, 75, group=5, alike=0.5, mixed=True),
)
PAIRED = (
    World(75, 75),
    World(15, 15),
    World(130, 20),
    World(75, 75, twins=0.99),
    World(75, 75, group=5, alike=0.5),
)
BETTER = 0.5


def table(title: str, columns: dict[str, pd.Series]) -> str:
    frame = 100 * pd.DataFrame(columns)
    lines = [f"| {' | '.join(['', *frame.columns])} |", "|---" * (len(frame.columns) + 1) + "|"]
    lines += [f"| {' | '.join([str(name), *(f'{value:.1f}' for value in row)])} |" for name, row in frame.iterrows()]
    return "\n".join([f"\n{title}\n", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Draw samples from normal scores and print, as Markdown, how often each 95 %% interval holds the "
        "truth, how often each comparison finds a difference where there is none, and where there is one."
    )
    parser.add_argument("--samples", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    words = parser.parse_args()
    samples, seed = words.samples, words.seed
    with terminal.progress(None, "simulating", "sample", samples * (len(WORLDS) + 2 * len(PAIRED))) as bar:
        covered = {world.name: coverage(world, samples, bar.update, seed) for world in WORLDS}
        null = {world.name: rejections(world, 0.0, samples, bar.update, seed) for world in PAIRED}
        real = {world.name: rejections(world, BETTER, samples, bar.update, seed) for world in PAIRED}
    print(f"{samples} samples a column, seed {seed}; the columns are images of label 0 / of label 1. All numbers in %.")
    print(table("Intervals that hold the truth (95 is promised)", {k: v["holds"] for k, v in covered.items()}))
    print(table("Intervals that lie wholly above it (2.5)", {k: v["above"] for k, v in covered.items()}))
    print(table("Comparisons of equals with p <= 0.05 (5)", {k: v["rejects"] for k, v in null.items()}))
    print(table("Their intervals that hold 0 (95)", {k: v["holds"] for k, v in null.items()}))
    gain = {
        name: truth(replace(WORLDS[0], distance=2 + BETTER))[name] - value for name, value in truth(WORLDS[0]).items()
    }
    print(table("Comparisons with p <= 0.05 where b is better (power)", {k: v["rejects"] for k, v in real.items()}))
    print(table("Their intervals that hold the difference (95)", {k: v["holds"] for k, v in real.items()}))
    print(f"\nBetter by, at 75 / 75: {', '.join(f'{name} {gain[name]:+.3f}' for name in null[PAIRED[0].name].index)}")


if __name__ == "__main__":
    main()
