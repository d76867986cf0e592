"""A picture that cannot be made is said in its place, and counted."""

from pathlib import Path

from kesikaran.thumbnails import Thumbnail, missing

PATH = Path("a.jpg")


def test_reasons_are_counted_by_kind_and_the_commonest_comes_first() -> None:
    whys = ["missing", "too large in pixels: 9 x 9, allowed 1", "too large in pixels: 8 x 8, allowed 1", "empty"]
    made = [Thumbnail(PATH, b"jpeg"), *(Thumbnail(PATH, None, why) for why in whys)]
    assert list(missing(made).items()) == [("too large in pixels", 2), ("missing", 1), ("empty", 1)]
    assert missing(made[:1]) == {}


def test_a_picture_holds_its_bytes_and_what_is_not_ours_is_escaped() -> None:
    assert Thumbnail(PATH, b"jpeg").html('a"<b>') == (
        '<img alt="a&quot;&lt;b&gt;" src="data:image/jpeg;base64,anBlZw==">'
    )
    assert Thumbnail(PATH, None, "<b>").html("") == '<div class="none">&lt;b&gt;</div>'
