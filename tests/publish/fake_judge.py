"""What stands for a model where HTTP is tested: no TensorFlow, and known answers."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kesikaran.config.schema import BackboneConfig, DecisionRule
from kesikaran.metrics.conformal import Band
from kesikaran.publish.facts import Facts
from kesikaran.publish.predictor import Judged

FACTS = Facts(
    run_id="0123456789abcdef0123456789abcdef",
    data="made",
    backbone=BackboneConfig(handle=str(Path("backbone")), image_size=32),
    digest="d",
    width=16,
    views=("identity",),
    max_megapixels=50.0,
    rule=DecisionRule.plain,
    threshold=0.0,
    band=Band(-1.0, 0.5, 0.05),
)


class FakeJudge:
    """An image is `log-odds ` and a number, and is refused else. `gate`: closed, no image is judged. groups: how many
    images each call of `judge` got, and `decoded` each of `decode`."""

    facts = FACTS

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.groups: list[int] = []
        self.decoded: list[int] = []

    def decode(self, contents: list[bytes]) -> list[Any]:
        self.decoded.append(len(contents))
        return [self._one(content) for content in contents]

    @staticmethod
    def _one(content: bytes) -> Any:
        word, _, number = content.partition(b" ")
        return float(number) if word == b"log-odds" else "not a JPEG or PNG image"

    def judge(self, images: list[Any]) -> Judged:
        self.groups.append(len(images))
        self.gate.wait(30)
        odds = np.array(images, np.float32)
        sure = ~((odds >= -1.0) & (odds <= 0.5))
        return Judged(1 / (1 + np.exp(-odds)), odds, (odds >= 0).astype(np.int64), sure)


def image(log_odds: float) -> bytes:
    return b"log-odds %g" % log_odds


def broken(images: list[Any]) -> Judged:
    raise ZeroDivisionError("a defect")


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
