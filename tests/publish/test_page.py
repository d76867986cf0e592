"""The published page in a real browser: it prepares and judges images as the program does, and asks nobody."""

import gzip
import io
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from browser import Tab
from conftest import encoded, refused
from PIL import Image

from kesikaran.core import paths
from kesikaran.core.errors import InputError
from kesikaran.publish import litert_js, page
from kesikaran.publish.page import PageFacts

pytestmark = pytest.mark.tensorflow

SIZE = 48
ABOUT = PageFacts("A <b>title</b>", SIZE, (-1.0, 1.0), "bilinear", True, True, 0.5, (-1.0, 1.5), 0.05, ("cat", "dog"))
# An image as a File of the page, from the bytes in base64.
FILE = "new File([bytes('{}')], '{}')"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser.tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def module() -> Any:
    """A toy of what is published of a classifier."""
    import tensorflow as tf

    kernel = tf.constant(np.random.default_rng(0).normal(size=(5, 5, 3, 16)).astype(np.float32) / 5)
    head = tf.constant(np.random.default_rng(1).normal(size=(16, 1)).astype(np.float32) * 15)

    class Toy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
        def features(self, x: Any) -> Any:
            return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME")), [1, 2])

        @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32)])
        def judged(self, features: Any) -> dict[str, Any]:
            return {"logit": tf.squeeze(features @ head, 1)}

    return Toy()


@pytest.fixture(scope="module")
def published(module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from kesikaran.publish import tflite

    try:
        litert_js.folder()
    except InputError as error:
        pytest.skip(f"the page was not opened in a browser: {error}")
    folder = tmp_path_factory.mktemp("published")
    page.write(folder, tflite.float16(module, SIZE, ("identity", "flip_left_right")), ABOUT)
    return folder


@pytest.fixture
def opened(tab: Tab, published: Path) -> Tab:
    """The page, opened as a file and ready."""
    tab.asked.clear()
    tab.said.clear()
    tab.open((published / "index.html").as_uri(), "'ready' in document.body.dataset")
    return tab


def pictures(folder: Path, count: int) -> list[Path]:
    """Blurred noise of many sizes as PNG files."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(2)
    found = []
    for number in range(count):
        height, width = random.integers(20, 200, 2)
        noise = gaussian_filter(random.uniform(0, 255, (height, width, 3)), (1, 1, 0))
        noise = (noise - noise.min()) / np.ptp(noise) * random.uniform(80, 255)
        found.append(folder / f"{number}.png")
        found[-1].write_bytes(encoded(noise.astype(np.uint8), "PNG"))
    return found


def cards(tab: Tab, count: int) -> list[dict[str, str]]:
    """The data attributes of the page's cards, once `count` images are through."""
    tab.wait(f"document.querySelectorAll('.card .decision, .card .failed').length === {count}")
    found: list[dict[str, str]] = tab.evaluate(
        "[...document.querySelectorAll('.card')].map(card => ({...card.dataset}))"
    )
    return found


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "area", "lanczos3"])
def test_the_resize_is_that_of_tensorflow(method: str, tab: Tab, tmp_path: Path) -> None:
    from kesikaran.config.schema import BackboneConfig, ResizeMethod
    from kesikaran.data import preprocess

    shutil.copy(Path(page.__file__).with_name("browser") / "resize.js", tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html><body><script src=resize.js></script>")
    tab.open((tmp_path / "index.html").as_uri())
    random = np.random.default_rng(0)
    for height, width, size in ((300, 200, 224), (7, 5, 24), (97, 301, 24), (24, 24, 24), (1, 600, 24)):
        pixels = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
        for antialias in (True, False):
            facts = f"{{image_size: {size}, resize_method: '{method}', antialias: {antialias}, value_range: [-1, 1]}}"
            taken = f"Uint8Array.from(atob('{b64encode(pixels.tobytes()).decode()}'), (c) => c.charCodeAt(0))"
            call = f"prepared({taken}, {width}, {height}, {facts.replace('True', 'true').replace('False', 'false')})"
            found = np.array(tab.evaluate(f"[...{call}]"), np.float32).reshape(size, size, 3)
            config = BackboneConfig("", image_size=size, value_range=[-1.0, 1.0], resize_method=ResizeMethod[method])
            expected = preprocess.resize(pixels[..., :3], replace(config, antialias=antialias)).numpy()
            # Without antialias, and for area, it has other code, whose bicubic kernel is a table of 1024 places.
            near = 1e-5 if antialias and method != "area" else 0.005 if method == "bicubic" else 1e-4
            assert np.abs(found - expected).max() < near, (height, width, size, antialias)


def test_the_page_says_what_the_model_says_and_asks_nobody(
    opened: Tab, published: Path, module: Any, tmp_path: Path
) -> None:
    from kesikaran.config.schema import BackboneConfig
    from kesikaran.data import augment, preprocess

    paths = pictures(tmp_path, 12)
    config = BackboneConfig("", image_size=SIZE, value_range=[-1.0, 1.0])
    images = np.stack([preprocess.resize(np.asarray(Image.open(path)), config) for path in paths])
    features = [module.features(augment.view(images, view)) for view in ("identity", "flip_left_right")]
    logits = module.judged(sum(features) / 2)["logit"].numpy()
    opened.choose("#files", paths[:7])
    opened.choose("#files", paths[7:])
    found = cards(opened, 12)
    assert [card["name"] for card in found] == [path.name for path in paths]
    assert [float(card["logit"]) for card in found] == pytest.approx(logits, abs=0.01)
    said = np.array([float(card["logit"]) for card in found])
    assert [float(card["probability"]) for card in found] == pytest.approx(1 / (1 + np.exp(-said)), abs=1e-12)
    assert [int(card["label"]) for card in found] == (said >= 0.5).astype(int).tolist()
    assert [card["sure"] == "true" for card in found] == [not -1.0 <= logit <= 1.5 for logit in said]
    dogs, unsure = int((said >= 0.5).sum()), int(((said >= -1.0) & (said <= 1.5)).sum())
    assert 0 < dogs < 12
    assert 0 < unsure < 12
    text = opened.evaluate("document.body.innerText")
    assert f"12 images: {dogs} dog, {12 - dogs} cat, {unsure} of them not sure" in text
    assert text.count("probability of dog") == 12
    assert "at most 5 % are called the other label and sure" in text
    assert opened.evaluate("document.title") == ABOUT.title == opened.evaluate("document.querySelector('h1').innerText")
    assert opened.said == []
    assert {address.partition("browser/")[0] for address in [*opened.asked.values()][1:]} == {published.as_uri() + "/"}


def test_the_page_may_ask_nobody_even_if_it_tried(opened: Tab) -> None:
    stranger = "http://127.0.0.1:9/"  # where nobody listens
    attempts = (
        f"fetch('{stranger}').catch(() => 'refused')",
        f"new Promise(end => Object.assign(new Image(), {{onerror: () => end('refused'), src: '{stranger}'}}))",
    )
    assert [opened.evaluate(attempt) for attempt in attempts] == ["refused", "refused"]
    assert stranger not in opened.asked.values()
    opened.open("data:text/html,<body>")
    for count, attempt in enumerate(attempts, 1):
        assert opened.evaluate(attempt) == "refused"
        assert [*opened.asked.values()].count(stranger) == count, "without the page's policy it is asked"


def test_an_image_is_judged_as_people_see_it(opened: Tab) -> None:
    random = np.random.default_rng(3)
    rgba = random.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    rgb = np.kron(random.integers(0, 256, (4, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise
    deep = random.integers(0, 65536, (20, 30), dtype=np.uint16)
    soft = Image.fromarray(np.uint8(128 + 100 * np.sin(np.indices((64, 96)).sum(0) / 9))).convert("RGB")
    white = Image.new("RGBA", (30, 20), "white")
    kinds: dict[str, tuple[Any, ...]] = {
        "transparent": (Image.fromarray(rgba), "PNG", {}, Image.alpha_composite(white, Image.fromarray(rgba)), 2),
        "palette": (Image.fromarray(rgb).quantize(8), "PNG", {}, Image.fromarray(rgb).quantize(8), 0),
        "sixteen bits": (Image.fromarray(deep), "PNG", {}, Image.fromarray((deep >> 8).astype(np.uint8)), 1),
        "turned": (Image.fromarray(rgb), "PNG", {"exif": turned}, Image.fromarray(np.rot90(rgb, -1)), 0),
        "turned jpeg": (soft, "JPEG", {"exif": turned, "quality": 95}, soft.transpose(Image.Transpose.ROTATE_270), 6),
        "grey": (Image.fromarray(rgb).convert("L"), "PNG", {}, Image.fromarray(rgb).convert("L"), 0),
    }  # fmt: skip
    for kind, (image, form, options, expected, near) in kinds.items():
        sink = io.BytesIO()
        image.save(sink, form, **options)
        file = FILE.format(b64encode(sink.getvalue()).decode(), kind)
        call = f"seen({file}).then(({{pixels: p}}) => [p.height, p.width, ...p.data])"
        height, width, *data = opened.evaluate(call)
        assert (width, height) == expected.size, kind
        found = np.array(data).reshape(height, width, 4)[..., :3]
        assert np.abs(found - np.asarray(expected.convert("RGB"), int)).max() <= near, kind


def test_images_are_dropped_blurred_and_shown_and_what_is_none_is_said(opened: Tab, tmp_path: Path) -> None:
    (picture,) = pictures(tmp_path, 1)
    files = [FILE.format(b64encode(picture.read_bytes()).decode(), "<i>name</i>"), "new File(['nothing'], 'no.txt')"]
    opened.evaluate(f"""(() => {{
        const transfer = new DataTransfer();
        for (const file of [{", ".join(files)}]) transfer.items.add(file);
        document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {{dataTransfer: transfer, bubbles: true}}));
    }})()""")
    found = cards(opened, 2)
    assert [card["name"] for card in found] == ["<i>name</i>", "no.txt"]
    assert "logit" not in found[1]
    text = opened.evaluate("document.body.innerText")
    assert "This browser cannot read it as an image." in text
    assert re.search(r"2 images: .*, 1 not judged", text)
    blur = "getComputedStyle(document.querySelector('.picture canvas')).filter"
    assert opened.evaluate(blur) == "blur(14px)"
    opened.evaluate("document.getElementById('sharp').focus()")
    opened.call("Input.dispatchKeyEvent", type="keyDown", key=" ", text=" ")
    opened.call("Input.dispatchKeyEvent", type="keyUp", key=" ")
    assert opened.evaluate(blur) == "none"


def test_a_folder_that_is_not_whole_is_said(tab: Tab, published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "copy")
    (tmp_path / "copy" / "browser" / "model.js").unlink()
    tab.open((tmp_path / "copy" / "index.html").as_uri(), "document.querySelector('.failed') !== null")
    assert "The model cannot be loaded: MODEL is not defined." in tab.evaluate("document.body.innerText")


def test_what_the_page_cannot_do_is_refused(tmp_path: Path) -> None:
    refused("the page cannot resize by mitchell", page.write, tmp_path, b"", replace(ABOUT, resize_method="mitchell"))
    refused("backbone.as_seen=false", page.write, tmp_path, b"", replace(ABOUT, as_seen=False))
    assert list(tmp_path.iterdir()) == []


def test_the_licence_is_that_of_the_file_in_full(published: Path) -> None:
    root = paths.checkout()
    assert root
    assert (published / "browser" / "LICENSE.txt").read_bytes() == (root / "LICENSE").read_bytes()
    assert f"{litert_js.PACKAGE} {litert_js.VERSION}" in (published / "browser" / "NOTICE.txt").read_text()
    wasm = re.search(r'WASM = "(.*)"', (published / "browser" / "litert_wasm.js").read_text())
    assert wasm
    assert gzip.decompress(b64decode(wasm[1])) == (litert_js.folder() / litert_js.WASM).read_bytes()
