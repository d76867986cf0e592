"""What is done about images that cannot be used: they are counted and listed, and the policy decides."""

from pathlib import Path
from typing import Any

import pytest

from kesikaran.config.schema import OnBadImage
from kesikaran.core.errors import InputError
from kesikaran.data import original_names
from kesikaran.data.original_names import Origin
from kesikaran.experiment.refusals import settle_refusals, tell_complaints

pytestmark = pytest.mark.tensorflow

BAD = {f"{n:040x}.jpg": "empty" if n % 2 else "too large in pixels: 9 x 9, allowed 1 megapixels" for n in range(12)}


class Log:
    """A run that keeps what is logged."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}
        self.files: dict[str, Any] = {}

    def metrics(self, metrics: dict[str, float]) -> None:
        self.counts |= metrics

    def json(self, content: dict[str, Any], name: str) -> None:
        self.files[name] = content


def settle(bad: dict[str, str], asked: int, policy: OnBadImage, images: Path = Path("images")) -> Log:
    log = Log()
    settle_refusals(log, bad, asked, policy, images)  # type: ignore[arg-type]
    return log


def test_refused_images_are_counted_listed_and_the_first_ten_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    log = settle(BAD, 40, OnBadImage.quarantine)
    assert log.counts == {"data/images": 28, "data/refused": 12}
    assert log.files == {"refused_images.json": BAD}
    out = capsys.readouterr().out
    assert out.startswith("Refused 12 of 40 images:\n")
    assert out.count("\n  0") == 10
    assert out.endswith("and 2 more: refused_images.json of the run\n")


def test_an_image_that_came_from_a_file_is_told_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = list(BAD)[:2]
    original_names.write(tmp_path, [Origin(first, "cats/tabby.jpg", "")])
    images = tmp_path / "images"
    reasons = {first: "missing", second: "empty"}
    log = settle(reasons, 40, OnBadImage.quarantine, images)
    assert log.files == {"refused_images.json": {first: "cats/tabby.jpg: missing", second: "empty"}}
    tell_complaints({first: "Corrupt JPEG data"}, images)
    out = capsys.readouterr().out
    assert f":\n  cats/tabby.jpg: missing\n  {second}: empty\n" in out
    assert "(the first: cats/tabby.jpg: Corrupt JPEG data)" in out
    with pytest.raises(InputError, match=r"\(the first: cats/tabby\.jpg: missing\) and data"):
        settle(reasons, 40, OnBadImage.fail, images)


def test_without_a_refusal_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    log = settle({}, 40, OnBadImage.fail)
    assert (log.counts, log.files) == ({"data/images": 40, "data/refused": 0}, {})
    assert capsys.readouterr().out == ""


def test_the_policy_fail_ends_the_run_after_the_images_are_on_record() -> None:
    log = Log()
    with pytest.raises(
        InputError, match=r"12 of 40 images were refused \(the first: 0{40}\.jpg: too large .* trains on"
    ):
        settle_refusals(log, BAD, 40, OnBadImage.fail, Path("images"))  # type: ignore[arg-type]
    assert log.files == {"refused_images.json": BAD}


def test_a_run_without_a_usable_image_ends_under_every_policy() -> None:
    for policy in OnBadImage:
        with pytest.raises(InputError, match=r"none of the 12 images can be used .* check data\.images"):
            settle(BAD, 12, policy)
