"""Each image goes through the backbone once, whatever happened in between."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Done, Made, child, encoded, refused

from kesikaran.config.schema import Engine, JpegDecode, Precision, ResizeMethod
from kesikaran.core import folder_lock
from kesikaran.core.errors import InputError
from kesikaran.data.object_store import objects


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def config(made: Made) -> Any:
    from kesikaran.config.schema import BackboneConfig

    return BackboneConfig(handle=str(made.backbone), image_size=32, batch_size=16)


@pytest.fixture
def net(config: Any) -> Any:
    from kesikaran.models import backbone

    return backbone.load(config.handle, config.image_size)


def extract(made: Made, net: Any, config: Any, names: list[str] | None = None) -> Any:
    """As in a process of its own."""
    from kesikaran.features.extract import FeatureCache

    return FeatureCache().extract(names or sorted(os.listdir(made.images)), objects(made.images), net, config, 50)


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


def test_an_image_is_read_by_its_content_whatever_its_extension_says(
    made: Made, net: Any, config: Any, cache: Path, tmp_path: Path
) -> None:
    from kesikaran.features.extract import FeatureCache

    names = sorted(os.listdir(made.images))[:10]
    lies = [name.split(".")[0] + {".jpg": ".png", ".png": ".jpg"}[name[40:]] for name in names]
    for name, lie in zip(names, lies, strict=True):
        shutil.copy(made.images / name, tmp_path / lie)
    found = FeatureCache().extract(lies, objects(tmp_path), net, config, 50)
    assert (found.refused, found.computed) == ({}, 10)
    np.testing.assert_array_equal(found.matrix, extract(made, net, config, names).matrix)


def test_a_second_job_reads_no_shard_and_still_wants_the_files(
    made: Made, net: Any, config: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.features import extract
    from kesikaran.features.extract import FeatureCache

    images = shutil.copytree(made.images, tmp_path / "images")
    names = sorted(os.listdir(images))[:60]
    cached = FeatureCache()
    first = cached.extract(names, objects(images), net, config, 50)
    with monkeypatch.context() as patched:
        patched.setattr(extract, "Shards", None)
        again = cached.extract(names, objects(images), net, config, 50)
    assert again.matrix is first.matrix
    assert again.near_duplicates(0.9) is first.near_duplicates(0.9)
    assert (first.computed, again.computed) == (60, 0)
    assert cached.extract(names[1:], objects(images), net, config, 50).object_ids == names[1:]
    cached.extract(names, objects(images), net, config, 50)
    (images / names[0]).unlink()
    fewer = cached.extract(names, objects(images), net, config, 50)
    assert fewer.refused == {names[0]: "missing"}
    np.testing.assert_array_equal(fewer.matrix, first.matrix[1:])


def test_a_second_job_with_another_limit_of_pixels_is_not_served_from_the_first(
    made: Made, net: Any, config: Any, cache: Path
) -> None:
    from kesikaran.features.extract import FeatureCache

    names = sorted(os.listdir(made.images))[:40]
    strict = FeatureCache().extract(names, objects(made.images), net, config, 0.0015)
    assert 0 < len(strict.refused) < 40
    assert all(why.startswith("too large in pixels") for why in strict.refused.values())
    lax = FeatureCache().extract(names, objects(made.images), net, config, 50)
    assert (lax.refused, lax.object_ids, lax.computed) == ({}, names, len(strict.refused))


def test_they_are_the_backbones_features_in_the_asked_order(made: Made, net: Any, config: Any, cache: Path) -> None:
    import tensorflow as tf

    from kesikaran.data import preprocess

    names = sorted(os.listdir(made.images))[:20]
    found = extract(made, net, config, names)
    for row, name in zip(found.matrix, names, strict=True):
        pixels = preprocess.resize(preprocess.decode(tf.constant((made.images / name).read_bytes()), config), config)
        assert tuple(pixels.shape) == (32, 32, 3)
        assert 0 <= float(tf.reduce_min(pixels)) <= float(tf.reduce_max(pixels)) <= 1
        np.testing.assert_allclose(row, net.layer(pixels[None])[0], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 48},
        {"resize_method": ResizeMethod.bicubic},
        {"antialias": False},
        {"value_range": [-1.0, 1.0]},
        {"jpeg_decode": JpegDecode.reduced},
    ],
    ids=str,
)
def test_other_preprocessing_is_another_key(change: dict[str, Any], net: Any, config: Any) -> None:
    from kesikaran.features import extract

    key = extract.cache_key(net, config)
    assert extract.cache_key(net, dataclasses.replace(config, **change)) != key
    assert extract.cache_key(net, dataclasses.replace(config, batch_size=8)) == key
    assert extract.cache_key(dataclasses.replace(net, digest="0" * 32), config) != key
    assert extract.cache_key(dataclasses.replace(net, handle="moved"), config) == key


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
from kesikaran.config import schema
from kesikaran.data.object_store import objects
from kesikaran.features import extract, shards
from kesikaran.models import backbone
images, handle, die_after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
c = schema.BackboneConfig(handle=handle, image_size=32, batch_size=16)
append, written = shards.Shards.append, 0
def counted(*arguments):
    global written
    append(*arguments)
    written += 1
    if written == die_after:
        os.kill(os.getpid(), signal.SIGKILL)
shards.Shards.append = counted
net = backbone.load(handle, 32)
found = extract.FeatureCache().extract(sorted(os.listdir(images)), objects(images), net, c, 50)
print("computed", found.computed, "of", len(found.object_ids))
"""


def test_a_killed_pass_loses_only_the_open_batch(made: Made, net: Any, config: Any, cache: Path) -> None:
    command = [sys.executable, "-c", PASS, str(made.images), str(made.backbone), "3"]
    killed = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = extract(made, net, config)
    assert resumed.computed == len(os.listdir(made.images)) - 3 * 16
    shutil.rmtree(cache)
    np.testing.assert_array_equal(extract(made, net, config).matrix, resumed.matrix)


def test_features_do_not_depend_on_their_batch(made: Made, net: Any, config: Any, cache: Path) -> None:
    """The last batch is filled up: bit for bit what a full one gives."""
    sizes: list[int] = []

    def layer(images: Any) -> Any:
        sizes.append(len(images))
        return net.layer(images)

    counted = SimpleNamespace(handle=net.handle, digest=net.digest, width=net.width, layer=layer)
    names = sorted(os.listdir(made.images))
    one = extract(made, counted, config, names[:1]).matrix
    shutil.rmtree(cache)
    np.testing.assert_array_equal(extract(made, counted, config, names[:20]).matrix[:1], one)
    assert sizes == [16, 16, 16]


def test_what_another_process_has_written_meanwhile_is_not_computed(
    made: Made, net: Any, config: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.data import image_file
    from kesikaran.features.shards import Shards

    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("KESIKARAN_CACHE", str(elsewhere))
    names = sorted(os.listdir(made.images))
    whole = extract(made, net, config, names)
    monkeypatch.setenv("KESIKARAN_CACHE", str(cache))
    append = Shards.append
    forwards: list[int] = []

    def helped(self: Shards, rows: dict[bytes, np.ndarray]) -> None:
        append(self, rows)
        if not forwards:
            (shard,) = elsewhere.glob("features/*/*.arrow")
            shutil.copy(shard, self.folder)
        forwards.append(len(rows))

    monkeypatch.setattr(Shards, "append", helped)
    opened = image_file.opened
    reads = []

    def counted(path: Path, max_megapixels: float, sha1: str) -> Any:
        reads.append(path)
        return opened(path, max_megapixels, sha1)

    monkeypatch.setattr(image_file, "opened", counted)
    found = extract(made, net, config, names)
    assert (forwards, found.computed) == ([16], 16)
    assert len(reads) <= 16 + 4 * 16 + 16 + 1  # those of the first batch and those under way
    np.testing.assert_array_equal(found.matrix, whole.matrix)


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


def test_small_shards_are_merged(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(os.listdir(made.images))
    for start in range(0, 100, 10):
        extract(made, net, config, names[start : start + 10])
    monkeypatch.setattr("kesikaran.features.shards._FULL_IMAGES", 150)
    whole = extract(made, net, config)
    assert whole.computed == len(names) - 100
    assert len(shards(cache)) == 2
    again = extract(made, net, config)
    assert again.computed == 0
    np.testing.assert_array_equal(again.matrix, whole.matrix)


def test_no_room_to_merge_is_no_failure(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.core import files

    write, refused = files.write_whole, []

    def full(path: Path, content: Any, durable: bool = True) -> None:
        if path.suffix == ".arrow" and len(content) > 3000:  # a batch of 16 has 2,000 bytes or so
            refused.append(path)
            raise OSError(28, "No space left on device")
        write(path, content, durable)

    monkeypatch.setattr(files, "write_whole", full)
    found = extract(made, net, config)
    assert refused
    assert (found.computed, len(shards(cache))) == (240, 15)
    assert not list(cache.glob("features/*/*.tmp"))
    assert extract(made, net, config).computed == 0


@pytest.mark.parametrize("index", [None, "", "[]", '{"a": 1'])
def test_the_index_is_made_anew(index: str | None, made: Made, net: Any, config: Any, cache: Path) -> None:
    extract(made, net, config)
    assert extract(made, net, config).computed == 0
    (path,) = cache.glob("features/*/index.json")
    before = path.read_text()
    if index is None:
        path.unlink()
    else:
        path.write_text(index)
    assert extract(made, net, config).computed == 0
    assert path.read_text() == before


def test_a_shard_is_hashed_once(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(made, net, config)
    extract(made, net, config)
    monkeypatch.setattr("kesikaran.features.shards._checksum", None)
    assert extract(made, net, config).computed == 0


def test_a_large_matrix_lies_in_a_file(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = extract(made, net, config)
    monkeypatch.setattr("kesikaran.features.matrix._IN_MEMORY_BYTES", 1000)
    large = extract(made, net, config)
    assert isinstance(large.matrix, np.memmap)
    np.testing.assert_array_equal(large.matrix, small.matrix)
    assert not list(cache.glob("features/*/*.tmp"))


# ---- the command line


@pytest.fixture
def command(run: Callable[..., Done]) -> Callable[..., Done]:
    from kesikaran.cli import features

    return lambda *words: run(features.main, "features", *words)


def test_ls_says_what_is_there(made: Made, net: Any, config: Any, cache: Path, command: Any) -> None:
    nothing = f"0 keys, 0.0 MiB in {cache / 'features'}\n0 templates of models, 0.0 MiB in {cache / 'models'}\n"
    nothing += f"0 states of stopped fine-tunings, 0.0 MiB in {cache / 'finetune'}\n"
    assert command("ls") == Done(0, nothing, "")
    found = extract(made, net, config)
    done = command("ls")
    assert done.code == 0
    assert f"{found.key}  {len(found.object_ids)} images" in done.out
    assert f"handle {made.backbone}, backbone {net.digest}" in done.out
    assert "image_size_px 32" in done.out


def test_verify_finds_what_the_index_hides(
    made: Made, net: Any, config: Any, cache: Path, command: Callable[..., Done]
) -> None:
    extract(made, net, config)
    extract(made, net, config)
    assert command("verify") == Done(0, "1 keys, every shard is whole.\n", "")
    (shard,) = shards(cache)
    status = shard.stat()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = command("verify")
    assert (done.code, done.err) == (1, "1 shards were damaged\n")
    assert f"set aside as {shard.stem}.damaged" in done.out
    assert extract(made, net, config).computed == len(os.listdir(made.images))


def test_gc_drops_what_no_longer_serves(
    made: Made, net: Any, config: Any, cache: Path, command: Callable[..., Done]
) -> None:
    found = extract(made, net, config)
    folder = cache / "features" / found.key
    (folder / "a.damaged").write_bytes(b"0" * 2**20)
    (folder / "old.7.tmp").write_bytes(b"0" * 2**20)
    os.utime(folder / "old.7.tmp", (0, 0))
    (folder / "new.7.tmp").write_bytes(b"of a process at work")
    done = command("gc")
    assert done.code == 0
    assert done.out.startswith("2.0 MiB freed, ")
    assert extract(made, net, config).computed == 0
    assert {path.suffix for path in folder.iterdir() if path.is_file()} == {".arrow", ".json", ".lock", ".tmp"}
    command("gc", "--unused-days", "1")
    assert folder.exists()
    os.utime(folder / "backbone.json", (0, 0))
    assert f"{found.key}: removed" in command("gc", "--unused-days", "1").out
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["emptied", "cut", "a list", "deep", "no text", "a folder", "gone"])
def test_a_damaged_note_is_said_of_its_key_and_written_anew(
    damage: str, made: Made, net: Any, config: Any, cache: Path, command: Callable[..., Done]
) -> None:
    names = sorted(os.listdir(made.images))[:20]
    key = extract(made, net, config, names).key
    extract(made, net, dataclasses.replace(config, antialias=False), names)
    note = cache / "features" / key / "backbone.json"
    whole = note.read_text()
    note.unlink()
    if damage == "a folder":
        note.mkdir()
    elif damage != "gone":
        content = {"emptied": "", "cut": whole[:30], "a list": "[1]", "deep": "[" * 100_000, "no text": "\udcff"}[
            damage
        ]
        note.write_text(content, errors="surrogateescape")
    listed = command("ls")
    assert listed.code == 0
    assert f"{key}  20 images" in listed.out
    assert listed.out.count("backbone.json is missing or damaged") == 1
    assert listed.out.count(f"backbone {net.digest}") == 1, "the other key is listed"
    assert command("gc", "--unused-days", "1").code == 0
    assert command("verify").code == 0
    assert extract(made, net, config, names).computed == 0
    assert note.read_text() == whole


@pytest.mark.parametrize("what", ["folder", "pipe", "of another kind"])
def test_what_is_no_shard_is_set_aside(what: str, tmp_path: Path, command: Callable[..., Done], cache: Path) -> None:
    from kesikaran.features import shards

    folder = cache / "features" / "key"
    folder.mkdir(parents=True)
    if what == "folder":
        (folder / "x.arrow").mkdir()
    elif what == "pipe":
        os.mkfifo(folder / "x.arrow")
    else:
        known = shards.Shards(folder)
        known.append({bytes(20): np.zeros(3, np.float32)})
        (shard,) = folder.glob("*.arrow")
        shards.Shards(folder)
        status = shard.stat()
        shard.write_bytes(bytes(status.st_size))
        os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))  # as the index has noted it
    assert shards.Shards(folder).damaged == 1
    assert command("gc").code == 0
    assert not list(folder.glob("*.damaged"))


def test_gc_leaves_a_pass_under_way_alone(
    made: Made, net: Any, config: Any, cache: Path, command: Callable[..., Done]
) -> None:
    arguments = [str(made.images), str(made.backbone), "3"]
    stopping = PASS.replace("SIGKILL", "SIGSTOP")
    with child(sys.executable, "-c", stopping, *arguments) as process:
        os.waitpid(process.pid, os.WUNTRACED)
        (folder,) = (cache / "features").iterdir()
        assert command("gc", "--unused-days", "0").out.startswith(f"{folder.name}: in use by a run, kept\n")
        process.send_signal(signal.SIGCONT)
        count = len(os.listdir(made.images))
        assert process.communicate()[0] == f"computed {count} of {count}\n"
        assert process.returncode == 0
    assert extract(made, net, config).computed == 0
    assert f"{folder.name}: removed" in command("gc", "--unused-days", "0").out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda rows: rows[:1], "features of [1, 16] for 16 images, where it gave 16"),
        (lambda rows: rows[:, :8], "features of [16, 8] for 16 images"),
        (lambda rows: np.where(np.arange(16)[:, None] == 3, np.nan, rows), "not finite for image "),
    ],
)
def test_a_backbone_that_gives_something_else_on_other_images(
    given: Any, says: str, made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.features import engines

    forward = engines.forward
    calls = []

    def second_differs(*arguments: Any) -> Any:
        compute = forward(*arguments)

        def other(images: Any) -> Any:
            calls.append(len(images))
            return given(compute(images)) if len(calls) == 2 else compute(images)

        return other

    monkeypatch.setattr(engines, "forward", second_differs)
    refused(says, lambda: extract(made, net, config))
    monkeypatch.setattr(engines, "forward", forward)
    assert extract(made, net, config).computed == len(os.listdir(made.images)) - 16, "the first batch stays"


def test_states_of_stopped_fine_tunings_go_when_unused(cache: Path, command: Callable[..., Done]) -> None:
    from kesikaran.training.checkpoint import Checkpoint, State

    states = [Checkpoint(cache / "finetune" / name / "checkpoint.npz", name) for name in ("old", "new")]
    for state in states:
        state.save(State([np.zeros(2**18, np.float32)], [], [], [], 1))
    os.utime(states[0].path, (0, 0))
    assert f"2 states of stopped fine-tunings, 2.0 MiB in {cache / 'finetune'}" in command("ls").out
    assert command("gc").out.endswith("2.0 MiB kept\n")
    done = command("gc", "--unused-days", "1")
    assert done.out == "old: removed\n1.0 MiB freed, 1.0 MiB kept\n"
    assert [state.path.exists() for state in states] == [False, True]


def test_templates_of_models_are_counted_and_go_when_unused(
    made: Made, net: Any, config: Any, cache: Path, command: Callable[..., Done]
) -> None:
    from kesikaran.publish import model_template

    folders = [model_template.template(net, config, units) for units in ([], [8])]
    marks = [folder.parent / "digest" for folder in folders]
    size_bytes = sum(path.stat().st_size for mark in marks for path in mark.parent.rglob("*") if path.is_file())
    assert size_bytes > 2**16
    assert f"2 templates of models, {size_bytes / 2**20:.1f} MiB in {cache / 'models'}" in command("ls").out
    for mark in marks:
        os.utime(mark, (0, 0))
    assert model_template.template(net, config, [8]) == folders[1], "used now"
    assert command("gc") == Done(0, f"0.0 MiB freed, {size_bytes / 2**20:.1f} MiB kept\n", "")
    assert f"{marks[0].parent.name}: removed" in command("gc", "--unused-days", "1").out
    assert [mark.parent.exists() for mark in marks] == [False, True]
    os.utime(marks[1], (0, 0))
    with folder_lock.in_use(lambda: folders[1].parent):  # as a run does while it copies the template
        assert f"{folders[1].parent.name}: in use by a run, kept" in command("gc", "--unused-days", "1").out
    assert model_template.template(net, config, []) == folders[0], "and is built again"


def test_a_full_disk_is_one_line_and_leaves_no_half(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(aside: Path, path: Path) -> None:
        if path.suffix == ".arrow":
            raise OSError(28, "No space left on device")
        replace(aside, path)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"feature cache .* cannot be written \(No space left on device\)"):
        extract(made, net, config)
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {"backbone.json"}


def test_a_full_disk_at_the_first_note(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"feature cache .* cannot be written \(No space left on device\): free some"):
        extract(made, net, config)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_broken_image_is_never_replaced(made: Made, net: Any, config: Any, cache: Path, tmp_path: Path) -> None:
    from kesikaran.features.extract import FeatureCache

    (tmp_path / "images").mkdir()
    content = encoded(np.full((30, 30, 3), 9, np.uint8), "PNG")
    (tmp_path / "images" / f"{'c' * 40}.png").write_bytes(content)
    found = FeatureCache().extract(
        [f"{'c' * 40}.png", f"{'d' * 40}.png"], objects(tmp_path / "images"), net, config, 50
    )
    assert found.object_ids == []
    assert found.refused == {
        f"{'c' * 40}.png": "its content has another SHA-1 than its name",
        f"{'d' * 40}.png": "missing",
    }


@pytest.mark.parametrize("mixed", [False, True])
def test_a_nested_store_gives_what_a_flat_one_gives(
    mixed: bool, made: Made, net: Any, config: Any, cache: Path, tmp_path: Path
) -> None:
    from kesikaran.features.extract import FeatureCache

    names = sorted(os.listdir(made.images))[:40]
    for name in names[20:] if mixed else names:
        (tmp_path / "images" / name[:2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(made.images / name, tmp_path / "images" / name[:2] / name)
    for name in names[:20] if mixed else []:
        shutil.copy(made.images / name, tmp_path / "images" / name)
    lost = [f"{names[0][:2]}{'c' * 38}.png", f"{'d' * 40}.png"]
    nested = FeatureCache().extract([*names, *lost], objects(tmp_path / "images"), net, config, 50)
    assert (nested.object_ids, nested.computed) == (names, 40)
    assert nested.refused == dict.fromkeys(lost, "missing")
    flat = extract(made, net, config, names)
    assert flat.computed == 0
    np.testing.assert_array_equal(nested.matrix, flat.matrix)


# ---- several views


FLIPS = ("identity", "flip_left_right")
EIGHT = (*FLIPS, "flip_up_down", "rotate_180", "transpose", "rotate_90", "rotate_270", "transverse")


def extract_views(made: Made, net: Any, config: Any, views: tuple[str, ...], names: list[str] | None = None) -> Any:
    from kesikaran.features.extract import FeatureCache

    names = names or sorted(os.listdir(made.images))
    return FeatureCache().extract(names, objects(made.images), net, config, 50, views)


def test_the_key_of_stored_pixels_is_what_it_was_before_there_were_views_and_orientations() -> None:
    from kesikaran.config.schema import BackboneConfig
    from kesikaran.features import extract

    net: Any = SimpleNamespace(digest="0" * 32)
    config = BackboneConfig("x", as_seen=False)
    keys = [extract.cache_key(net, config, view) for view in EIGHT]
    assert extract.cache_key(net, config) == keys[0] == "42497255570cbb0d3910c7e77c7facd2"
    assert len({*keys, extract.cache_key(net, BackboneConfig("x"))}) == 9


def test_each_view_is_a_block_and_their_mean_the_last(made: Made, net: Any, config: Any, cache: Path) -> None:
    import tensorflow as tf

    from kesikaran.data import augment, preprocess

    names = sorted(os.listdir(made.images))[:20]
    plain = extract(made, net, config, names)
    assert plain.stacked is plain.matrix
    assert plain.blocks == 1
    found = extract_views(made, net, config, EIGHT, names)
    assert (found.key, found.object_ids, found.computed, found.blocks) == (plain.key, names, 20, 9)
    assert (found.stacked.shape, found.stacked.dtype) == ((9 * 20, net.width), np.float32)
    np.testing.assert_array_equal(found.matrix, plain.matrix)
    encoded = [tf.constant((made.images / name).read_bytes()) for name in names]
    pixels = tf.stack([preprocess.resize(preprocess.decode(content, config), config) for content in encoded])
    for number, view in enumerate(EIGHT):
        expected = net.layer(augment.view(pixels, view))
        np.testing.assert_allclose(found.stacked[20 * number : 20 * number + 20], expected, atol=1e-5)
    blocks = found.stacked.reshape(9, 20, net.width)
    assert np.abs(blocks[1:8] - blocks[0]).max(axis=(1, 2)).min() > 1e-3, "to the backbone a view is another image"
    np.testing.assert_allclose(found.means, blocks[:8].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(found.means, blocks[8])


def test_the_rows_of_images_in_all_views_and_in_their_mean(made: Made, net: Any, config: Any, cache: Path) -> None:
    names, images = sorted(os.listdir(made.images))[:10], np.array([7, 2, 2])
    one, two = (extract_views(made, net, config, views, names) for views in (FLIPS[:1], FLIPS))
    assert (one.in_views(images).tolist(), one.in_means(images).tolist()) == ([7, 2, 2], [7, 2, 2])
    assert two.in_views(images).tolist() == [7, 2, 2, 17, 12, 12]
    assert two.in_means(images).tolist() == [27, 22, 22]
    np.testing.assert_array_equal(two.stacked[two.in_means(images)], two.means[images])


def test_an_image_is_decoded_once_for_all_views_and_computed_in_those_that_lack_it(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.data import image_file

    opened, reads, sizes = image_file.opened, [], []

    def counted(path: Path, max_megapixels: float, sha1: str) -> Any:
        reads.append(path)
        return opened(path, max_megapixels, sha1)

    def layer(images: Any) -> Any:
        sizes.append(len(images))
        return net.layer(images)

    monkeypatch.setattr(image_file, "opened", counted)
    counting = SimpleNamespace(handle=net.handle, digest=net.digest, width=net.width, layer=layer)
    names = sorted(os.listdir(made.images))[:32]
    assert extract_views(made, counting, config, FLIPS, names).computed == 32
    assert (len(reads), sizes) == (32, [16] * 4)
    assert extract_views(made, counting, config, EIGHT, names).computed == 32
    assert (len(reads), sizes) == (64, [16] * 16)
    assert extract_views(made, counting, config, EIGHT, names).computed == 0
    assert len(reads) == 64


def test_an_image_that_is_refused_in_one_view_has_no_features_in_any(
    made: Made, net: Any, config: Any, cache: Path, tmp_path: Path
) -> None:
    from kesikaran.features.extract import FeatureCache

    images = shutil.copytree(made.images, tmp_path / "images")
    names = sorted(os.listdir(images))[:40]
    whole = extract_views(made, net, config, FLIPS[:1], names)
    (images / names[3]).write_bytes(b"damaged")
    found = FeatureCache().extract(names, objects(images), net, config, 50, FLIPS)
    assert list(found.refused) == [names[3]]
    np.testing.assert_array_equal(found.matrix, np.delete(whole.matrix, 3, axis=0))
    assert found.stacked.shape == (3 * 39, net.width)
    plain = FeatureCache().extract(names, objects(images), net, config, 50)
    assert plain.refused == {}, "they were computed when the file was whole"


def test_a_second_job_on_the_same_views_reads_no_shard(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.features import extract
    from kesikaran.features.extract import FeatureCache

    names, cached = sorted(os.listdir(made.images))[:60], FeatureCache()
    first = cached.extract(names, objects(made.images), net, config, 50, EIGHT)
    with monkeypatch.context() as patched:
        patched.setattr(extract, "Shards", None)
        again = cached.extract(names, objects(made.images), net, config, 50, EIGHT)
    assert again.stacked is first.stacked
    assert again.matrix is first.matrix, "the leak gauge knows by it that it has been asked before"
    assert cached.extract(names, objects(made.images), net, config, 50, FLIPS).blocks == 3
    assert cached.extract(names, objects(made.images), net, config, 50).blocks == 1


def test_the_command_knows_the_views(
    made: Made, net: Any, config: Any, cache: Path, command: Callable[..., Done]
) -> None:
    from kesikaran.features import extract

    extract_views(made, net, config, FLIPS)
    plain, flipped = (extract.cache_key(net, config, view) for view in FLIPS)
    listed = command("ls").out.splitlines()[:4]  # two lines of each key
    described = {line.split()[0]: what for line, what in zip(listed[::2], listed[1::2], strict=True)}
    assert set(described) == {plain, flipped}
    assert described[flipped] == f"{described[plain]}, view flip_left_right"
    assert command("verify").out == "2 keys, every shard is whole.\n"
    note = cache / "features" / flipped / "backbone.json"
    for key in (plain, flipped):
        os.utime(cache / "features" / key / "backbone.json", (0, 0))
    extract_views(made, net, config, FLIPS)
    assert note.stat().st_mtime > 1, "used now"
    os.utime(note, (0, 0))
    extract_views(made, net, config, FLIPS[:1])
    assert command("gc", "--unused-days", "1").out.startswith(f"{flipped}: removed\n")
    assert (cache / "features" / plain).exists()
    assert extract_views(made, net, config, FLIPS).computed == len(os.listdir(made.images))


# ---- another engine


def test_openvino_computes_nearly_the_same_under_a_key_of_its_own(
    made: Made, net: Any, config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")
    plain = extract(made, net, config)
    other = extract(made, net, dataclasses.replace(config, engine=Engine.openvino))
    assert plain.deviation is None
    assert other.key != plain.key
    assert other.computed == plain.computed
    np.testing.assert_allclose(other.matrix, plain.matrix, atol=1e-4)
    assert other.deviation == pytest.approx(np.abs(other.matrix[:32] - plain.matrix[:32]).max(), abs=1e-6)
    short = extract(made, net, dataclasses.replace(config, engine=Engine.openvino, precision=Precision.bfloat16))
    assert short.key not in (plain.key, other.key)
    assert short.deviation is not None
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert short.deviation > 10 * other.deviation
    again = extract(made, net, dataclasses.replace(config, engine=Engine.openvino))
    assert (again.computed, again.deviation) == (0, other.deviation)
    monkeypatch.setattr(openvino, "__version__", "2099.1.0-1-abc")
    assert extract(made, net, dataclasses.replace(config, engine=Engine.openvino)).computed == plain.computed


def test_the_deviation_is_of_images_that_can_be_decoded(
    made: Made, net: Any, config: Any, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    from kesikaran.features.extract import FeatureCache

    config = dataclasses.replace(config, engine=Engine.openvino)
    none = FeatureCache().extract(["c" * 40 + ".png"], objects(made.images), net, config, 50)
    assert (none.object_ids, none.deviation) == ([], None)
    copies = tmp_path / "images"
    shutil.copytree(made.images, copies)
    names = sorted(os.listdir(copies))[:40]
    limit = 60 * 60 / 1e6  # no image is larger
    measured = FeatureCache().extract(names, objects(copies), net, config, limit).deviation
    assert measured is not None

    def again(limit: float) -> float | None:
        """As if it had not been measured."""
        (note,) = cache.glob("features/*/backbone.json")
        what = json.loads(note.read_text())
        note.write_text(json.dumps({name: value for name, value in what.items() if name != "largest_deviation"}))
        found = FeatureCache().extract(names, objects(copies), net, config, limit)
        assert (found.computed, found.object_ids) == (0, names)
        return found.deviation

    assert again(limit) == measured
    assert again(1e-6) is None, "too large, each of them"
    for name in names[:31]:
        (copies / name).write_bytes(b"damaged")
    assert 0 < (again(limit) or 0) <= measured, "of the one that is left"
    (copies / names[31]).write_bytes(b"damaged")
    assert again(limit) is None
