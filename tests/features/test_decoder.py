"""Image files become tensors, or reasons why they are refused."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Made, encoded

from kesikaran.config.schema import BackboneConfig

CONFIG = BackboneConfig(handle="", image_size=32)


def decode(folder: Path, names: list[str]) -> list[Any]:
    from kesikaran.features.decoder import decoder

    return decoder({name: folder / name for name in names}, CONFIG, 50)(names)


def test_images_are_prepared_on_the_cpu(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever device runs the backbone: the same pixels."""
    from kesikaran.data import preprocess
    from kesikaran.features.decoder import Decoder

    devices: set[str] = set()
    resize = preprocess.resize

    def noted(image: Any, config: Any) -> Any:
        pixels = resize(image, config)
        devices.add(pixels.device)
        return pixels

    monkeypatch.setattr(preprocess, "resize", noted)
    monkeypatch.setattr(Decoder, "_kept", {})
    names = sorted(os.listdir(made.images))
    assert len(decode(made.images, names[:8]) + decode(made.images, names[8:9])) == 9
    assert devices == {"/device:CPU:*"}


def test_a_process_makes_a_decoder_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And knows its configuration by what it holds."""
    from kesikaran.features.decoder import Decoder

    monkeypatch.setattr(Decoder, "_kept", {})
    config = BackboneConfig(handle="", image_size=8)
    first = Decoder.of(config)
    assert Decoder.of(BackboneConfig(handle="", image_size=8)) is first
    config.image_size = 9
    second = Decoder.of(config)
    assert second is not first
    for size in (10, 11, 12):
        Decoder.of(BackboneConfig(handle="", image_size=size))
    assert len(Decoder._kept) == 4
    assert Decoder.of(config) is second


def test_a_damaged_image_takes_none_with_it(made: Made, tmp_path: Path) -> None:
    """Eight images are decoded in one call: one that cannot be must not be the end of the others."""
    names = sorted(os.listdir(made.images))[:7]
    for name in names:
        shutil.copy(made.images / name, tmp_path / name)
    half = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "PNG")[:4000]
    damaged = f"{hashlib.sha1(half, usedforsecurity=False).hexdigest()}.png"
    (tmp_path / damaged).write_bytes(half)
    *found, reason = decode(tmp_path, [*names, damaged])
    assert reason == "truncated or damaged: it ends within a chunk IDAT"
    for image, name in zip(found, names, strict=True):
        (alone,) = decode(made.images, [name])
        assert tuple(image.shape) == (32, 32, 3)
        np.testing.assert_array_equal(image, alone)


@pytest.mark.parametrize("count", [1, 8])
def test_a_file_under_another_name_is_refused(count: int, made: Made, tmp_path: Path) -> None:
    names = sorted(os.listdir(made.images))[:count]
    lie = f"{'c' * 40}.png"
    for name, source in zip([lie, *names[1:]], names, strict=True):
        shutil.copy(made.images / source, tmp_path / name)
    found = decode(tmp_path, [lie, *names[1:]])
    assert [isinstance(image, str) for image in found] == [True] + [False] * (count - 1)
    assert found[0] == "its content has another SHA-1 than its name"
