"""The reason for a missing picture stands in its place, and reasons are counted."""

from kesikaran.reports.thumbnails import Thumbnail, missing

NAME = "cats/a.jpg"


def test_reasons_are_counted_by_kind_and_the_commonest_comes_first() -> None:
    whys = ["missing", "too large in pixels: 9 x 9, allowed 1", "too large in pixels: 8 x 8, allowed 1", "empty"]
    made = [Thumbnail(NAME, b"jpeg"), *(Thumbnail(NAME, None, why) for why in whys)]
    assert list(missing(made).items()) == [("too large in pixels", 2), ("missing", 1), ("empty", 1)]
    assert missing(made[:1]) == {}


def test_a_picture_holds_its_bytes() -> None:
    assert Thumbnail(NAME, b"jpeg").data_uri == "data:image/jpeg;base64,anBlZw=="
    assert Thumbnail(NAME, None, "missing").data_uri is None
