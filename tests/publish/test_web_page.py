"""The page of `kesikaran serve` in a real browser, with a judge that is none behind it."""

import io
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Tab
from fake_judge import FakeJudge
from PIL import Image
from test_web_app import MOST_BYTES, Client, running

ODDS = [2.0, -2.0, -0.5, 0.25, -3.0]


class OfPictures(FakeJudge):
    """Judges real pictures, which the browser can show: the log-odds are a metadatum of the PNG."""

    @staticmethod
    def _one(content: bytes) -> Any:
        try:
            with Image.open(io.BytesIO(content)) as picture:
                return float(picture.info["odds"])
        except Exception:
            return "not a JPEG or PNG image"


def pictures(folder: Path) -> list[Path]:
    """A picture for each of ODDS, then a file that is none."""
    from PIL.PngImagePlugin import PngInfo

    files = []
    for number, odds in enumerate(ODDS):
        said = PngInfo()
        said.add_text("odds", str(odds))
        picture = Image.effect_mandelbrot((300, 300), (-2, -1.5, 1, 1.5), 10 + number)
        files.append(folder / f"{number} <b>.png")
        picture.save(files[-1], pnginfo=said)
    (folder / "notes.png").write_bytes(b"no picture")
    return [*files, folder / "notes.png"]


def seen(tab: Tab, selector: str) -> list[str]:
    found = tab.evaluate(f"[...document.querySelectorAll({selector!r})].map(one => one.textContent)")
    assert isinstance(found, list)
    return found


def judged(tab: Tab, count: int) -> None:
    tab.wait(f"document.querySelectorAll('li:not(.working)').length === {count}")


def show(tab: Tab, client: Client, dark: bool = False) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    tab.call("Emulation.setEmulatedMedia", features=[scheme])
    tab.open(f"http://127.0.0.1:{client.port}/", "!document.getElementById('legend').hidden")


def drop(tab: Tab, files: list[Path]) -> None:
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        tab.call("Input.dispatchDragEvent", type=kind, x=600, y=300, data=data)


def press(tab: Tab, key: str, code: int, text: str = "") -> None:
    typed = {"text": text} if text else {}
    tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **typed)
    tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)


@pytest.fixture
def tab(tmp_path: Path) -> Any:
    with browser.tab(tmp_path / "profile", "--window-size=1200,900") as opened:
        yield opened


def test_images_are_chosen_judged_and_shown(tab: Tab, tmp_path: Path) -> None:
    with running(OfPictures()) as client:
        show(tab, client)
        assert seen(tab, "h1") == ["best"]
        assert tab.evaluate("document.title") == "best – kesikaran"
        assert "label 1 from 0.500, not sure from 0.269 to 0.622" in seen(tab, "#rule")[0]
        assert "at most 5 % of each label" in seen(tab, "#promise")[0]
        tab.choose("#files", pictures(tmp_path))
        judged(tab, 6)

        assert seen(tab, ".name") == [f"{place} <b>.png" for place in range(5)] + ["notes.png"]
        verdicts = ["Label 1sure0.881", "Label 0sure0.119", "Not surerather 00.378", "Not surerather 10.562"]
        assert seen(tab, ".verdict") == [*verdicts, "Label 0sure0.047", "Refused"]
        assert seen(tab, ".why") == ["not a JPEG or PNG image"]
        assert seen(tab, "dd") == ["6", "1", "2", "2", "1"]
        assert seen(tab, "#status") == ["6 images: 1 label 1, 2 label 0, 2 not sure, 1 refused."]
        first = tab.evaluate("document.querySelector('li .bar').ariaLabel")
        assert first == "probability of label 1: 0.881; label 1 from 0.500, not sure from 0.269 to 0.622"

        # The bar as it is drawn, in shares of its width
        places = "(one, bar = one.parentElement.getBoundingClientRect(), own = one.getBoundingClientRect()) => " \
                 "[(own.left - bar.left) / bar.width, (own.right - bar.left) / bar.width]"  # fmt: skip
        drawn = tab.evaluate(f"['fill', 'band', 'threshold'].map(n => ({places})(document.querySelector('li .' + n)))")
        assert drawn[0] == pytest.approx([0, 0.881], abs=0.01)
        assert drawn[1] == pytest.approx([0.269, 0.622], abs=0.01)
        assert sum(drawn[2]) / 2 == pytest.approx(0.5, abs=0.01)

        own = f"http://127.0.0.1:{client.port}/"
        pages = [url for url in tab.asked.values() if not url.startswith(("blob:", "data:"))]
        assert pages == [own, f"{own}health", *[f"{own}predict"] * 6]
        assert [
            url for url in tab.asked.values() if url.startswith("blob:") and not url.startswith(f"blob:{own}")
        ] == []
        assert [one for one in tab.said if "422" not in one] == []

        tab.evaluate("void (new Image().src = 'http://127.0.0.1:9/elsewhere.png')")
        assert "elsewhere.png' violates the following Content Security Policy" in tab.said[-1]


def test_images_are_blurred_until_a_person_says_otherwise(tab: Tab, tmp_path: Path) -> None:
    blurs = "[...document.querySelectorAll('li img')].map(one => getComputedStyle(one).filter.includes('blur'))"
    with running(OfPictures()) as client:
        show(tab, client)
        drop(tab, pictures(tmp_path)[:2])
        judged(tab, 2)
        assert seen(tab, ".name") == ["0 <b>.png", "1 <b>.png"]
        assert tab.evaluate(blurs) == [True, True]

        # By keyboard: the files, the switch, the button that clears, then each picture
        tab.evaluate("document.activeElement.blur()")
        order = []
        for _ in range(4):
            press(tab, "Tab", 9)
            order.append(tab.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
        assert order == ["files", "blur", "clear", "Show 0 <b>.png without blur"]
        press(tab, "Enter", 13, "\r")
        assert tab.evaluate(blurs) == [False, True]
        assert tab.evaluate("document.activeElement.ariaPressed") == "true"
        tab.evaluate("document.getElementById('blur').focus()")
        press(tab, " ", 32, " ")
        assert tab.evaluate(blurs) == [False, False]
        tab.choose("#files", pictures(tmp_path)[2:3])
        judged(tab, 3)
        assert tab.evaluate(blurs) == [False] * 3
        assert tab.evaluate("document.querySelectorAll('.picture:disabled').length") == 3
        press(tab, " ", 32, " ")
        assert tab.evaluate(blurs) == [False, True, True]
        tab.evaluate("document.getElementById('clear').click()")
        assert seen(tab, "li") == []
        assert tab.evaluate("document.getElementById('bench').hidden")


def test_a_folder_is_dropped_and_a_long_file_is_not_sent(tab: Tab, tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "inner"
    folder.mkdir(parents=True)
    pictures(folder)
    with running(OfPictures()) as client:
        show(tab, client)
        drop(tab, [tmp_path / "photos"])
        judged(tab, 6)
        assert sorted(seen(tab, "dd")) == ["1", "1", "2", "2", "6"]
        long = tmp_path / "long.png"
        long.write_bytes(b"x" * (MOST_BYTES + 1))
        before = [*tab.asked.values()].count(f"http://127.0.0.1:{client.port}/predict")
        tab.choose("#files", [long])
        judged(tab, 7)
        assert seen(tab, ".why")[-1] == "too long: 1.0 MB, allowed 1 MB"
        assert [*tab.asked.values()].count(f"http://127.0.0.1:{client.port}/predict") == before


def test_a_full_queue_is_asked_again_and_a_server_that_is_gone_is_told(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.publish import batching, upload

    files = pictures(tmp_path)
    with running(OfPictures()) as client:
        show(tab, client)
        monkeypatch.setattr(upload, "RETRY_SECONDS", 1)
        with monkeypatch.context() as patch:
            patch.setattr(batching, "MOST_WAITING", 0)
            tab.choose("#files", files[:1])
            tab.wait("document.querySelectorAll('li.working').length === 1")
        judged(tab, 1)
        assert seen(tab, ".verdict") == ["Label 1sure0.881"]
    tab.choose("#files", files[1:2])
    judged(tab, 2)
    assert seen(tab, ".why") == ["the server does not answer, or the file cannot be read"]


def test_every_text_can_be_read_in_light_and_in_dark(tab: Tab, tmp_path: Path) -> None:
    """The contrast of WCAG 2, at least 4.5, for all texts of a page with every kind of result."""
    contrast = """(() => {
      const linear = v => v <= .04 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
      const light = rgb => [.2126, .7152, .0722].reduce((sum, share, i) => sum + share * linear(rgb[i] / 255), 0);
      const draw = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const over = colours => {
        draw.clearRect(0, 0, 1, 1);
        for (const colour of colours) { draw.fillStyle = colour; draw.fillRect(0, 0, 1, 1); }
        return draw.getImageData(0, 0, 1, 1).data;
      };
      const behind = one => one ? [...behind(one.parentElement), getComputedStyle(one).backgroundColor] : ['#fff'];
      const has_text = one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
      const all = [...document.querySelectorAll('body *')].filter(one => one.checkVisibility()
        && !one.closest('.picture, .hidden') && has_text(one));
      return all.map(one => {
        const back = behind(one), [a, b] = [over(back), over([...back, getComputedStyle(one).color])].map(light);
        return [one.textContent.trim().slice(0, 20), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
      });
    })()"""
    with running(OfPictures()) as client:
        for place, dark in enumerate((False, True)):
            show(tab, client, dark)
            tab.choose("#files", pictures(tmp_path))
            judged(tab, 6)
            found = tab.evaluate(contrast)
            assert len(found) > 25
            assert [one for one in found if one[1] < 4.5] == []
            background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(245, 246, 249)", "rgb(15, 17, 22)")[place]
