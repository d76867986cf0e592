"""A page that classifies images in a browser, by a `.tflite` file and without a network, also where it is opened as a
file. A browser lets such a page read no file beside it but scripts, so that all it needs is written as scripts."""

import gzip
import json
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path

from kesikaran.core import files
from kesikaran.core.errors import InputError
from kesikaran.publish import litert_js

_SOURCES = Path(__file__).with_name("browser")
_METHODS = ("bilinear", "bicubic", "area", "lanczos3")  # of browser/resize.js
_CHANGED = f"// {litert_js.PACKAGE} {litert_js.VERSION}, changed: see NOTICE.txt\n"
# What a module has and a script cannot have, and what stands for it: (text of the library, its replacement).
_CHANGES = (
    # The options of the WebAssembly are where the package's own loader looks for them.
    (
        'import { createWasmLib } from "@litertjs/wasm-utils";',
        "const createWasmLib = async (Library) => new Library(await self.ModuleFactory(self.Module));",
    ),
    # The page computes on the CPU: it wakes no GPU, and nothing is said where there is none.
    ("await Environment.create()", "await Environment.create({ webGpuDevice: null })"),
    ("//# sourceMappingURL=index.js.map", ""),
    ("\nexport {", "\nreturn {"),
)


@dataclass(frozen=True)
class PageFacts:
    """What the page knows of the model.

    title: of the page. image_size, value_range, resize_method, antialias: of the backbone's preprocessing. as_seen:
    whether images are judged as people see them. threshold: the lowest log-odds of label 1. band: from and up to which
    log-odds a decision is not sure; None where nothing is said of it. error: the share of images of a label that may be
    called the other one and sure. labels: the names of label 0 and label 1.
    """

    title: str
    image_size: int
    value_range: tuple[float, float]
    resize_method: str
    antialias: bool
    as_seen: bool
    threshold: float
    band: tuple[float, float] | None
    error: float | None
    labels: tuple[str, str] = ("0", "1")


def check(about: PageFacts) -> Path:
    """The folder of LiteRT.js, where a page of this model can be written.

    Raises:
        InputError: the page cannot prepare images as the model needs them, or LiteRT.js cannot be got.
    """
    if about.resize_method not in _METHODS:
        allowed = ", ".join(_METHODS)
        raise InputError(f"the page cannot resize by {about.resize_method}, only {allowed}: publish with --no-page")
    if not about.as_seen:
        raise InputError(
            "the page sees images as people do, and the model is of backbone.as_seen=false: publish with --no-page"
        )
    return litert_js.folder()


def write(folder: Path, tflite: bytes, about: PageFacts) -> None:
    """Write `index.html` and the folder `browser` that it needs.

    Args:
        folder: exists. tflite: a model of `publish.tflite`.

    Raises:
        InputError: as `check`; or the folder is full.
    """
    package = check(about)
    with files.disk_space(f"the folder {folder}", "or publish to another"):
        browser = folder / "browser"
        browser.mkdir(exist_ok=True)
        files.write_whole(folder / "index.html", (_SOURCES / "index.html").read_bytes())
        for name in ("page.css", "page.js", "resize.js", "LICENSE.txt", "NOTICE.txt"):
            files.write_whole(browser / name, (_SOURCES / name).read_bytes())
        files.write_whole(browser / Path(litert_js.GLUE).name, (package / litert_js.GLUE).read_bytes())
        files.write_whole(browser / "litert.js", _as_script((package / litert_js.LIBRARY).read_text()))
        wasm = gzip.compress((package / litert_js.WASM).read_bytes(), mtime=0)
        files.write_whole(browser / "litert_wasm.js", _CHANGED + _constant("WASM", wasm))
        files.write_whole(browser / "model.js", _constant("MODEL", tflite))
        files.write_whole(browser / "facts.js", f"const FACTS = {json.dumps(asdict(about))};\n")


def _constant(name: str, content: bytes) -> str:
    return f'const {name} = "{b64encode(content).decode()}";\n'


def _as_script(module: str) -> str:
    """The library as a script: its exports are those of the constant `LiteRT`."""
    for old, new in _CHANGES:
        assert module.count(old) == 1, f"{old} is in the file with the SHA-512 that is known"
        module = module.replace(old, new)
    return f"{_CHANGED}const LiteRT = (() => {{\n{module}\n}})();\n"
