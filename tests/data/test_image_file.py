"""A bad image is refused for the same reason by everything that reads images; a good one has one hash."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Made, encoded, store
from PIL import Image

from kesikaran.cli.data import near_duplicates
from kesikaran.data import image_file, ingest, verify
from kesikaran.data.image_file import BadImage, Reason
from kesikaran.data.ingest_sources import Source
from kesikaran.reports import thumbnails

NOISE = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **how)
    return sink.getvalue()


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


OTHER = "a" * 40 + ".png"
BAD: dict[str, tuple[bytes, str]] = {
    "missing": (b"", "missing"),
    "empty": (b"", "empty"),
    "text": (b"<html>not found</html>", "not a JPEG or PNG image"),
    "still gif": (encoded(NOISE, "GIF"), "not a JPEG or PNG image"),
    "animated gif": (animation("GIF"), "animated"),
    "animated webp": (animation("WEBP"), "animated"),
    "animated png": (animation("PNG"), "animated"),
    "too large": (saved(Image.new("1", (20000, 10000)), "PNG"), "too large in pixels: a decompression bomb"),
    "signature": (b"\xff\xd8\xff", "truncated or damaged"),
    "truncated jpeg": (encoded(NOISE, "JPEG")[:1500], "truncated or damaged"),
    "truncated png": (encoded(NOISE, "PNG")[:2000], "truncated or damaged"),
    "other content": (encoded(NOISE, "PNG"), "its content has another SHA-1 than its name"),
}


def bad_file(name: str, folder: Path) -> Path:
    """The bad file in an object store; of `missing` a link to nowhere."""
    folder.mkdir()
    content, _ = BAD[name]
    if name == "missing":
        (folder / OTHER).symlink_to("nowhere")
        return folder / OTHER
    if name == "other content":
        (folder / OTHER).write_bytes(content)
        return folder / OTHER
    return folder / store(folder, content, ".png")


def ingested(path: Path) -> str:
    good = path.parent.parent / "good.png"
    good.write_bytes(encoded(NOISE[::-1], "PNG"))
    sources = [Source("given", [(path, 0), (good, 1)])]
    report = ingest.ingest(sources, path.parent.parent / "out", ingest.Layout.flat, False, 50)
    ((_, reason),) = report.refused_files
    return reason


def verified(path: Path) -> str:
    (path.parent.parent / "label.csv").write_text(f"objectId,value\n{path.name},1\n")
    ((_, reason),) = verify.verify(path.parent.parent).wrong
    return reason


def hashed(path: Path) -> str:
    found, refused = near_duplicates.hashes([path.name], path.parent)
    assert found == {}
    return refused[path.name]


def pictured(path: Path) -> str:
    (thumbnail,) = thumbnails.make([path.name], path.parent, 50, blur=False)
    return thumbnail.why


def trained(path: Path) -> str:
    """What training asks before TensorFlow decodes."""
    try:
        image_file.open_checked(image_file.read_object(path), 50)
    except BadImage as reason:
        return str(reason)
    return "nothing"


READERS = [ingested, verified, hashed, pictured, trained]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_for_one_reason_by_all(name: str, reader: Callable[[Path], str], tmp_path: Path) -> None:
    if name == "other content" and reader is ingested:
        pytest.skip("an ingest takes files of any name")
    if name.startswith("truncated") and reader is trained:
        pytest.skip("TensorFlow finds it: see the next test")
    assert reader(bad_file(name, tmp_path / "images")) == BAD[name][1]


def kinds(refused: dict[str, str]) -> dict[str, str]:
    """Without the details of each file, in which TensorFlow's decoder differs."""
    return {name: why.split(":")[0] for name, why in refused.items()}


def test_a_feature_pass_refuses_them_for_the_same_reasons(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.config.schema import BackboneConfig
    from kesikaran.features.extract import FeatureCache
    from kesikaran.models import backbone

    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    images, good = tmp_path / "images", sorted(made.images.iterdir())[0]
    expected = {}
    for name, (_, reason) in BAD.items():
        path = bad_file(name, tmp_path / name)
        images.mkdir(exist_ok=True)
        if name != "missing":
            target = images / path.name if name != "other content" else images / ("b" * 40 + ".png")
            expected[path.rename(target).name] = reason
        else:
            expected[path.name] = reason
    (images / good.name).symlink_to(good)
    config = BackboneConfig(handle=str(made.backbone), image_size=32, batch_size=16)
    net = backbone.load(config.handle, 32)
    found = FeatureCache().extract([*expected, good.name], images, net, config, 50)
    assert kinds(found.refused) == kinds(expected)
    assert found.object_ids == [good.name]


def test_the_limit_is_the_callers() -> None:
    small, large = (saved(Image.new("1", size), "PNG") for size in ((101, 100), (10000, 10000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of more than 89 megapixels
        with pytest.raises(BadImage, match=r"too large in pixels: 101 x 100, allowed 0\.01 megapixels") as caught:
            image_file.open_checked(small, 0.01)
        assert caught.value.reason is Reason.too_large
        assert image_file.decode(small, 0.0101)[1] == ".png"
        assert image_file.open_checked(large, 100).size == (10000, 10000)


def test_the_signature_decides_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(encoded(NOISE, "JPEG"))
    assert image_file.read(tmp_path / "a.txt") == encoded(NOISE, "JPEG")
    with pytest.raises(BadImage, match="unreadable: not a regular file"):
        image_file.read(tmp_path)
    with pytest.raises(BadImage, match="unreadable: embedded null byte"):
        image_file.read(tmp_path / "a\0b")


# ---- hashes


def test_a_hash_looks_both_ways() -> None:
    brighter = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[:, None], (1, 100))
    assert image_file.perceptual_hash(Image.fromarray(brighter)).tolist() == [False] * 64 + [True] * 64
    assert image_file.perceptual_hash(Image.fromarray(brighter.T)).tolist() == [True] * 64 + [False] * 64


def test_sixteen_bits_have_the_hash_of_their_eight() -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256)
    assert deep.mode == "I;16"
    assert (image_file.perceptual_hash(deep) == image_file.perceptual_hash(grey)).all()
