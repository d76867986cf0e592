"""Each image goes through the backbone once, whatever happened in between."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Made, encoded

from kesikaran.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def config(made: Made) -> Any:
    from kesikaran.config import BackboneConfig

    return BackboneConfig(handle=str(made.backbone), image_size=32, batch_size=16)


@pytest.fixture
def net(config: Any) -> Any:
    from kesikaran import backbone

    return backbone.load(config.handle, config.image_size)


def extract(made: Made, net: Any, config: Any, names: list[str] | None = None) -> Any:
    from kesikaran import features

    return features.extract(names or sorted(os.listdir(made.images)), made.images, net, config, 50)


def shards(cache: Path) -> list[Path]:
    return sorted(cache.glob("features/*/*.arrow"))


def test_an_image_is_computed_once(made: Made, net: Any, config: Any, cache: Path) -> None:
    names = sorted(os.listdir(made.images))
    first = extract(made, net, config, names[:100])
    assert (first.computed, first.matrix.shape, first.matrix.dtype) == (100, (100, net.width), np.float32)
    more = extract(made, net, config, names)
    assert more.computed == len(names) - 100
    again = extract(made, net, config, names[::-1])
    assert again.computed == 0
    assert again.object_ids == names[::-1]
    np.testing.assert_array_equal(again.matrix[::-1], more.matrix)
    assert not list(cache.glob("features/*/*.tmp"))


def test_a_second_job_reads_no_shard_and_still_wants_the_files(
    made: Made, net: Any, config: Any, cache: Path, tmp_path: Path
) -> None:
    from kesikaran import features

    images = shutil.copytree(made.images, tmp_path / "images")
    names = sorted(os.listdir(images))[:60]
    first = features.extract(names, images, net, config, 50)
    features.extract(names, images, net, config, 50)
    reads = features._read.cache_info().misses
    (images / names[0]).unlink()
    again = features.extract(names, images, net, config, 50)
    assert features._read.cache_info().misses == reads
    assert again.refused == {names[0]: "missing"}
    np.testing.assert_array_equal(again.matrix, first.matrix[1:])
    for shard in shards(cache):
        shard.unlink()
    assert features.extract(names[1:], images, net, config, 50).computed == len(names) - 1


def test_they_are_the_backbones_features_in_the_asked_order(made: Made, net: Any, config: Any, cache: Path) -> None:
    import tensorflow as tf

    from kesikaran import images

    names = sorted(os.listdir(made.images))[:20]
    found = extract(made, net, config, names)
    for row, name in zip(found.matrix, names, strict=True):
        pixels = images.resize(images.decode(tf.constant((made.images / name).read_bytes())), config)
        assert tuple(pixels.shape) == (32, 32, 3)
        assert 0 <= float(tf.reduce_min(pixels)) <= float(tf.reduce_max(pixels)) <= 1
        np.testing.assert_allclose(row, net.layer(pixels[None])[0], atol=1e-5)


@pytest.mark.parametrize(
    "change", [{"image_size": 48}, {"resize_method": "bicubic"}, {"antialias": False}, {"value_range": [-1.0, 1.0]}]
)
def test_other_preprocessing_is_another_key(change: dict[str, Any], net: Any, config: Any) -> None:
    from kesikaran import features
    from kesikaran.config import ResizeMethod

    if "resize_method" in change:
        change = {"resize_method": ResizeMethod.bicubic}
    key = features.cache_key(net, config)
    assert features.cache_key(net, dataclasses.replace(config, **change)) != key
    assert features.cache_key(net, dataclasses.replace(config, batch_size=8)) == key
    assert features.cache_key(dataclasses.replace(net, digest="0" * 32), config) != key
    assert features.cache_key(dataclasses.replace(net, handle="moved"), config) == key


@pytest.mark.parametrize("damage", ["flip a byte", "cut short", "empty"])
def test_a_damaged_shard_is_set_aside_and_computed_again(
    damage: str, made: Made, net: Any, config: Any, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = extract(made, net, config)
    (shard,) = shards(cache)
    content = shard.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    shard.write_bytes({"flip a byte": flipped, "cut short": content[:-100], "empty": b""}[damage])
    mended = extract(made, net, config)
    assert mended.computed == len(whole.object_ids)
    assert "damaged: set aside as" in capsys.readouterr().out
    np.testing.assert_array_equal(mended.matrix, whole.matrix)
    assert list(cache.glob("features/*/*.damaged"))
    assert extract(made, net, config).computed == 0


PASS = """
import os, signal, sys
from pathlib import Path
from kesikaran import backbone, config, features
images, handle, die_after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
features._SHARD_IMAGES = 32
c = config.BackboneConfig(handle=handle, image_size=32, batch_size=16)
write, written = features._write, 0
def counted(*arguments):
    global written
    write(*arguments)
    written += 1
    if written == die_after:
        os.kill(os.getpid(), signal.SIGKILL)
features._write = counted
found = features.extract(sorted(os.listdir(images)), images, backbone.load(handle, 32), c, 50)
print("computed", found.computed, "of", len(found.object_ids))
"""


def test_a_killed_pass_loses_only_what_was_not_written(made: Made, net: Any, config: Any, cache: Path) -> None:
    command = [sys.executable, "-c", PASS, str(made.images), str(made.backbone), "3"]
    killed = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert extract(made, net, config).computed == len(os.listdir(made.images)) - 3 * 32


def test_two_processes_may_fill_it_at_once(made: Made, net: Any, config: Any, cache: Path) -> None:
    command = [sys.executable, "-c", PASS, str(made.images), str(made.backbone), "0"]
    both = [subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert out.endswith(f"of {len(os.listdir(made.images))}\n")
    found = extract(made, net, config)
    assert found.computed == 0
    assert np.isfinite(found.matrix).all()


def test_a_full_disk_is_one_line_and_leaves_no_half(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"feature cache .* cannot be written \(No space left on device\)"):
        extract(made, net, config)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_broken_image_is_never_replaced(made: Made, net: Any, config: Any, cache: Path, tmp_path: Path) -> None:
    from kesikaran import features

    (tmp_path / "images").mkdir()
    content = encoded(np.full((30, 30, 3), 9, np.uint8), "PNG")
    (tmp_path / "images" / f"{'c' * 40}.png").write_bytes(content)
    found = features.extract([f"{'c' * 40}.png", f"{'d' * 40}.png"], tmp_path / "images", net, config, 50)
    assert found.object_ids == []
    assert found.refused == {
        f"{'c' * 40}.png": "its content has another SHA-1 than its name",
        f"{'d' * 40}.png": "missing",
    }


@pytest.mark.parametrize("mixed", [False, True])
def test_a_nested_store_gives_what_a_flat_one_gives(
    mixed: bool, made: Made, net: Any, config: Any, cache: Path, tmp_path: Path
) -> None:
    from kesikaran import features

    names = sorted(os.listdir(made.images))[:40]
    for name in names[20:] if mixed else names:
        (tmp_path / "images" / name[:2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(made.images / name, tmp_path / "images" / name[:2] / name)
    for name in names[:20] if mixed else []:
        shutil.copy(made.images / name, tmp_path / "images" / name)
    lost = [f"{names[0][:2]}{'c' * 38}.png", f"{'d' * 40}.png"]
    nested = features.extract([*names, *lost], tmp_path / "images", net, config, 50)
    assert (nested.object_ids, nested.computed) == (names, 40)
    assert nested.refused == dict.fromkeys(lost, "missing")
    flat = extract(made, net, config, names)
    assert flat.computed == 0
    np.testing.assert_array_equal(nested.matrix, flat.matrix)
