"""One judgement of an image by everything that reads images, whatever a stranger sends; a good image has one hash."""

import hashlib
import os
import re
import socket
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, one_line, peak_bytes, store
from hostile_images import NOISE, chunk, corpus, deep, interlaced, jpeg, png, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kesikaran.cli.data import near_duplicates
from kesikaran.config.schema import BackboneConfig
from kesikaran.data import image_file, image_pixels, ingest, libjpeg_lines, verify
from kesikaran.data.image_file import BadImage, Encoded, Reason
from kesikaran.data.ingest_sources import Source
from kesikaran.data.object_store import sha1_of
from kesikaran.features.decoder import TOGETHER, decoder
from kesikaran.reports import thumbnails

pytestmark = pytest.mark.tensorflow

CONFIG = BackboneConfig(handle="", image_size=32)
Reader = Callable[[Path, list[str]], dict[str, str]]


def ingested(data: Path, names: list[str]) -> dict[str, str]:
    (data.parent / "good.png").write_bytes(encoded(NOISE[::-1], "PNG"))  # a source without a usable image is refused
    files = [(data / "images" / name, 0) for name in names] + [(data.parent / "good.png", 1)]
    report = ingest.ingest([Source("given", files)], data.parent / "out", ingest.Layout.flat, False, 50)
    return {Path(path).name: why for path, why in report.refused_files}


def verified(data: Path, names: list[str]) -> dict[str, str]:
    (data / "label.csv").write_text("objectId,value\n" + "".join(f"{name},1\n" for name in names))
    return {Path(path).name: why for path, why in verify.verify(data, 50).wrong}


def hashed(data: Path, names: list[str]) -> dict[str, str]:
    found, refused = near_duplicates.hashes(names, data / "images", 50)
    assert found.keys() | refused.keys() == set(names)
    return refused


def pictured(data: Path, names: list[str]) -> dict[str, str]:
    return {made.name: made.why for made in thumbnails.make(names, data / "images", 50, blur=False) if made.why}


def trained(data: Path, names: list[str], heard: bool = True) -> dict[str, str]:
    decode = decoder({name: data / "images" / name for name in names}, CONFIG, 50)
    groups = [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]
    if heard:
        with libjpeg_lines.kept_back():
            decoded = [result for group in groups for result in decode(group)]
    else:
        decoded = [result for group in groups for result in decode(group)]
    return {name: why for name, why in zip(names, decoded, strict=True) if isinstance(why, str)}


def trained_unheard(data: Path, names: list[str]) -> dict[str, str]:
    return trained(data, names, heard=False)


def said(err: str) -> list[str]:
    """What libjpeg and Pillow have said, without TensorFlow's log, which a command leaves out."""
    log = re.compile(r"[IWEF]\d{4} |\t \[\[\{\{(function_)?node")
    return [line for line in err.splitlines() if not log.match(line)]


READERS: list[Reader] = [ingested, verified, hashed, pictured, trained, trained_unheard]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(the folder of a data set that holds the corpus, object id -> name in the corpus)."""
    data = tmp_path_factory.mktemp("hostile") / "data"
    (data / "images").mkdir(parents=True)
    kinds = {content: ".png" if content.startswith(b"\x89PNG") else ".jpg" for content, _ in corpus().values()}
    return data, {store(data / "images", corpus()[name][0], kinds[corpus()[name][0]]): name for name in corpus()}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_ingest_verify_training_and_all_others_agree_on_every_image(
    reader: Reader, hostile: tuple[Path, dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each for the stated reason; one image more after every refusal would be a traceback."""
    data, names = hostile
    assert len(names) > 100
    before = peak_bytes(anew=True)
    refused = {names[object_id]: why for object_id, why in reader(data, list(names)).items()}
    assert refused == {name: why for name, (_, why) in corpus().items() if why}
    assert all(map(one_line, refused.values()))
    if reader is not trained_unheard:
        assert said(capfd.readouterr().err) == []
    assert peak_bytes() - before < 1.3e9  # a command holds 0.7 GB before its first image


# ---- files that are no files


def no_files(images: Path) -> dict[str, str]:
    """Names that lead to something else than an image file -> why they are not used."""
    images.mkdir(parents=True)
    other = "a" * 40 + ".png"
    (images / other).write_bytes(encoded(NOISE, "PNG"))
    why = {other: "its content has another SHA-1 than its name"}
    for number, what in enumerate(["fifo", "socket", "/dev/zero", "/dev/stdin", "nowhere", "loop", "sparse"]):
        path = images / f"{number:040x}.png"
        why[path.name] = "unreadable: not a regular file"
        if what == "fifo":
            os.mkfifo(path)
        elif what == "socket":
            here = os.getcwd()
            os.chdir(images)  # the name of a socket may have a hundred letters
            try:
                with socket.socket(socket.AF_UNIX) as server:
                    server.bind(path.name)
            finally:
                os.chdir(here)
        elif what == "loop":
            path.symlink_to(path.name)
            why[path.name] = f"unreadable: {os.strerror(40)}"
        elif what == "sparse":
            path.write_bytes(png()[:8])
            os.truncate(path, 10**12)
            why[path.name] = "too large in bytes: 1,000,000,000,000, allowed 416,000,000"
        else:
            path.symlink_to(what)
            if what == "nowhere":
                why[path.name] = "missing"
            if what == "/dev/stdin":
                path.unlink()
                path.symlink_to("/proc/self/mem")
                why[path.name] = "unreadable: Input/output error"
    return why


@pytest.mark.parametrize("reader", READERS[:-1], ids=lambda reader: reader.__name__)
def test_what_is_no_regular_file_is_refused_by_all_and_nothing_hangs(reader: Reader, tmp_path: Path) -> None:
    why = no_files(tmp_path / "data" / "images")
    if reader is ingested:
        why.pop("a" * 40 + ".png")  # an ingest takes files of any name
    assert reader(tmp_path / "data", list(why)) == why


def test_a_pipe_that_comes_into_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded(NOISE, "PNG"))
    really_open = os.open

    def swapped(*arguments: object, **more: object) -> int:
        path.unlink()
        os.mkfifo(path)
        return really_open(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(BadImage, match="unreadable: not a regular file"), image_file.opened(path, 50, None):
        pass


def test_a_folder_and_a_name_that_cannot_be(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "not a regular file"), (tmp_path / "a\0b", "embedded null byte")):
        with pytest.raises(BadImage, match=f"unreadable: {why}"), image_file.opened(path, 50, sha1_of(path.name)):
            pass


def judge(path: Path, content: bytes, max_megapixels: float = 50) -> Encoded:
    path.write_bytes(content)
    with image_file.opened(path, max_megapixels, None) as image:
        assert image.complaint is not None
    return image


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    small, large = (saved(Image.new("1", size), "PNG") for size in ((101, 100), (10000, 10000)))
    path = tmp_path / "image"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of more than 89 megapixels
        with pytest.raises(BadImage, match=r"too large in pixels: 101 x 100, allowed 0\.01 megapixels") as caught:
            judge(path, small, 0.01)
        assert caught.value.reason is Reason.too_large
        assert judge(path, small, 0.0101).extension == ".png"
        assert image_pixels.decode(judge(path, large, 100)).size == (10000, 10000)
    with pytest.raises(BadImage, match="allowed 178 megapixels"):
        judge(path, saved(Image.new("1", (20000, 10000)), "PNG"), float("inf"))
    with pytest.raises(BadImage, match="too large in bytes: 16,000,009, allowed 16,000,008"):
        judge(path, png() + bytes(16_000_001), 1e-6)


def test_the_signature_decides_and_not_the_name(tmp_path: Path) -> None:
    image = judge(tmp_path / "a.txt", encoded(NOISE, "JPEG"))
    assert (image.extension, image.content) == (".jpg", encoded(NOISE, "JPEG"))


def test_large_images_wait_for_room(tmp_path: Path) -> None:
    """Of images of 150 megapixels one is held at a time, whatever the number of threads."""
    (tmp_path / "image").write_bytes(saved(Image.new("1", (15000, 10000)), "PNG"))
    held, most = 0, 0
    lock = threading.Lock()

    def hold() -> None:
        nonlocal held, most
        with image_file.opened(tmp_path / "image", 178, None):
            with lock:
                held += 1
                most = max(most, held)
            threading.Event().wait(0.05)
            with lock:
                held -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (held, most) == (0, 1)


# ---- mutations

GOOD = [
    encoded(NOISE[:20, :20], "PNG"),
    interlaced(13, 9),
    deep(np.arange(400).reshape(20, 20) * 163),
    saved(Image.fromarray(NOISE[:16, :16]).quantize(9), "PNG", transparency=3),
    saved(Image.fromarray(np.dstack([NOISE, NOISE[..., :1]])[:9, :9]), "PNG"),
    jpeg(),
    jpeg(progressive=True),
    jpeg(restart_marker_blocks=2),
    saved(
        Image.fromarray(NOISE[..., 0]),
        "JPEG",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    ),
    saved(Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]), "CMYK"), "JPEG"),
]
PIECES = st.one_of(
    st.binary(max_size=4), st.sampled_from([b"\xff\xd9", b"\xff\xda", b"\xff\xd0", b"\xff\0", b"IDAT", b"\0\0\0\0"])
)
MUTATION = st.tuples(st.floats(0, 1), st.integers(0, 40), PIECES)


def mended(content: bytes) -> bytes:
    """The same chunks with right checksums, as far as there are chunks: else no mutation of a PNG would get further."""
    parts, at = [content[:8]], 8
    while at + 12 <= len(content) and at + 12 + (length := struct.unpack_from(">I", content, at)[0]) <= len(content):
        parts.append(chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join([*parts, content[at:]])


def mutate(content: bytes, mutations: list[tuple[float, int, bytes]], mend: bool, inside: bool) -> bytes:
    """Bytes lost or replaced; `inside` the compressed data of a PNG, or of the file as it lies there."""
    whole = content
    if inside and content.startswith(png()):
        at = content.index(b"IDAT")
        length = struct.unpack_from(">I", content, at - 4)[0]
        content = zlib.decompress(content[at + 4 : at + 4 + length])
    for where, lost, added in mutations:
        at_byte = int(where * len(content))
        content = content[:at_byte] + added + content[at_byte + lost :]
    if inside and whole.startswith(png()):
        return whole[: at - 4] + chunk(b"IDAT", zlib.compress(content)) + whole[at + 8 + length :]
    return mended(content) if mend and content.startswith(png()) else content


def test_a_thousand_mutated_images_are_judged_alike_by_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    judged: list[str] = []

    @settings(
        max_examples=1000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(GOOD), st.lists(MUTATION, min_size=1, max_size=2), st.booleans(), st.booleans())
    def check(content: bytes, mutations: list[tuple[float, int, bytes]], mend: bool, inside: bool) -> None:
        content = mutate(content, mutations, mend, inside)
        name = hashlib.sha1(content).hexdigest()
        path = tmp_path / name
        path.write_bytes(content)
        by_all = ""
        try:
            by_verify = verify._check(path, 50)[0]
            (by_training,) = decode_here([name])
            assert by_verify == (by_training if isinstance(by_training, str) else "")
            with image_file.opened(path, 50, sha1_of(path.name)) as image:
                image_pixels.convert(image)
                assert image_pixels.perceptual_hash(image_pixels.picture(image)).shape == (128,)
        except BadImage as reason:
            by_all = str(reason)
        path.unlink()
        assert by_verify == by_all
        assert one_line(by_all)
        judged.append(by_all.split(":")[0])

    class Paths(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            return tmp_path / name

    decode_here = decoder(Paths(), CONFIG, 50)
    with libjpeg_lines.kept_back():
        check()
    assert len(judged) >= 1000
    assert judged.count("") > 100
    assert judged.count("truncated or damaged") > 300
    assert said(capfd.readouterr().err) == []


# ---- hashes


def test_a_hash_looks_both_ways() -> None:
    brighter = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[:, None], (1, 100))
    assert image_pixels.perceptual_hash(Image.fromarray(brighter)).tolist() == [False] * 64 + [True] * 64
    assert image_pixels.perceptual_hash(Image.fromarray(brighter.T)).tolist() == [True] * 64 + [False] * 64


def test_sixteen_bits_have_the_hash_of_their_eight() -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256)
    assert deep.mode == "I;16"
    assert (image_pixels.perceptual_hash(deep) == image_pixels.perceptual_hash(grey)).all()
