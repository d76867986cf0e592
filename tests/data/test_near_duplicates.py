"""Planted copies are found, look-alikes are not chained, and a cluster stays on one side of the split."""

import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made, encoded, store, write_labels
from PIL import Image
from scipy.ndimage import gaussian_filter

from kesikaran.config.schema import SplitConfig
from kesikaran.data import image_pixels, label_file, near_duplicates, original_names, split_rules
from kesikaran.data.original_names import Origin

# ---- pairs and clusters


def features_with_copies(random: np.random.Generator) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """700 images far apart; the last 60 are copies of the first 60. More rows than a block, more columns than
    components, of which 20 hold what tells images apart."""
    features = random.normal(0, 1, (700, 20)) @ random.normal(0, 1, (20, 300)) + 10
    features[640:] = features[:60]
    features += random.normal(0, 0.3, features.shape)
    return features.astype(np.float32), {(i, 640 + i) for i in range(60)}


@pytest.mark.parametrize("distances", [near_duplicates._DISTANCES, 7000], ids=["few", "many"])
def test_planted_copies_are_the_pairs(distances: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_DISTANCES", distances)
    random = np.random.default_rng(0)
    features, planted = features_with_copies(random)
    found = near_duplicates.by_features(features, 0.9)
    assert {(i, j) for i, j in found.tolist()} == planted
    assert len(found) == 60
    hashes = random.random((700, 128)) < 0.5
    hashes[640:] = hashes[:60]
    for i in range(60):
        hashes[640 + i, random.permutation(128)[: i // 3]] ^= True  # 0 to 19 bits
    assert {(i, j) for i, j in near_duplicates.by_hash(hashes, 32).tolist()} == planted
    at_most_ten = {(i, j) for i, j in planted if i // 3 <= 10}
    assert {(i, j) for i, j in near_duplicates.by_hash(hashes, 10).tolist()} == at_most_ten


def test_look_alikes_are_not_chained_and_the_copies_among_them_are_found() -> None:
    """500 images in one tight ball beside 500 others: each has hundreds within the limit, and only its copy stands
    out."""
    random = np.random.default_rng(0)
    centre = random.normal(0, 1, 200)
    ball = centre + random.normal(0, 0.2, (500, 200))
    features = np.concatenate([ball, random.normal(0, 1, (500, 200)), ball[:20] + random.normal(0, 0.03, (20, 200))])
    features = features.astype(np.float32)
    within = np.corrcoef(features[:500])[np.triu_indices(500, 1)] > 0.9
    assert within.mean() > 0.5, "the danger is real"
    assert near_duplicates.by_features(features, 0.9).tolist() == [[i, 1000 + i] for i in range(20)]


def test_a_pair_stands_out_for_both_of_its_images() -> None:
    """14 bits apart; the nearest others are 24 bits from the one and 38 from the other."""
    random = np.random.default_rng(0)
    hashes = random.random((200, 128)) < 0.5
    hashes[1:20] = hashes[0]
    hashes[0, :14] ^= True
    for i in range(2, 20):
        hashes[i, 14 + random.permutation(114)[:24]] ^= True
    assert near_duplicates.by_hash(hashes, 32).tolist() == []
    hashes[0, :4] ^= True
    assert near_duplicates.by_hash(hashes, 32).tolist() == [[0, 1]]


@pytest.mark.parametrize(("copies", "bits"), [(10, 18), (40, 1)])
def test_many_copies_are_one_cluster(copies: int, bits: int) -> None:
    """Ten that differ by up to 18 bits, or any number that hardly differ."""
    random = np.random.default_rng(0)
    hashes = random.random((700, 128)) < 0.5
    hashes[-copies:] = hashes[-1]
    for i in range(copies):
        hashes[-1 - i, random.permutation(128)[: min(2 * i, bits)]] ^= True
    ids = [f"{i:03d}" for i in random.permutation(700)]
    cluster = near_duplicates.clusters(ids, near_duplicates.by_hash(hashes, 32))
    assert set(cluster[-copies:]) == {min(ids[-copies:])}
    assert list(cluster[:-copies]) == ids[:-copies]


def test_a_chain_is_one_cluster_named_by_its_smallest_id() -> None:
    pairs = np.array([[0, 3], [1, 3], [2, 4]])
    assert list(near_duplicates.clusters(list("dcxbae"), pairs)) == ["b", "b", "a", "b", "a", "e"]
    assert list(near_duplicates.clusters(["b", "a"], np.empty((0, 2), int))) == ["b", "a"]


@pytest.mark.parametrize("n", [1, 2, 12])
def test_few_images_and_constant_features(n: int) -> None:
    assert len(near_duplicates.by_features(np.ones((n, 400), np.float32), 0.9)) == 0
    assert len(near_duplicates.by_hash(np.zeros((n, 128), bool), 0)) == n * (n - 1) // 2


def test_crossing_by_hand() -> None:
    table = pd.DataFrame(
        {
            "object_id": list("dcba"),
            "near_duplicate": list("babb"),
            "split": ["x", "y", "y", "x"],
            "label": [0, 1, 0, 0],
        }
    )
    assert near_duplicates.crossing(table, "split")["object_id"].tolist() == ["a", "b", "d"]
    assert near_duplicates.crossing(table, "label").empty


# ---- pictures


def picture(random: np.random.Generator) -> Image.Image:
    """Blobs of all sizes, 200 px: as in photographs, most of the contrast is coarse."""
    octaves = [gaussian_filter(random.normal(0, 1, (200, 200, 3)), (size, size, 0)) * size for size in (1, 3, 9, 27)]
    pixels = sum(octaves)
    return Image.fromarray(np.clip(128 + 50 * pixels / np.std(pixels), 0, 255).astype(np.uint8))


def reencoded(image: Image.Image) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=50)
    return Image.open(sink)


COPIES: list[Callable[[Image.Image], Image.Image]] = [
    reencoded,
    lambda image: image.resize((160, 160)),
    lambda image: image.crop((4, 4, 196, 196)),
]


def test_hashes_tell_copies_from_look_alikes() -> None:
    """Look-alikes: the same scene, seen a quarter further on."""
    random = np.random.default_rng(0)
    originals = [picture(random) for _ in range(60)]
    copies = [COPIES[i % 3](image) for i, image in enumerate(originals[:30])]
    look_alikes = [Image.fromarray(np.roll(np.asarray(image), 50, axis=1)) for image in originals[30:]]
    hashes = np.stack([image_pixels.perceptual_hash(image) for image in originals + copies + look_alikes])
    assert hashes.shape == (120, 128)
    found = near_duplicates.by_hash(hashes, 32).tolist()
    assert found == [[i, 60 + i] for i in range(30)]


# ---- in a run


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, made: Made) -> tuple[Made, dict[str, str]]:
    """The made images, and 40 of them once more as other PNG files of the same pixels: copy -> original."""
    root = tmp_path_factory.mktemp("planted")
    (root / "images").mkdir()
    labels: dict[str, int] = {}
    copies: dict[str, str] = {}
    table = label_file.read_labels(made.labels).table
    for name, label in zip(table["object_id"], table["label"], strict=True):
        (root / "images" / name).symlink_to(made.images / name)
        labels[name] = int(label)
        if name.endswith(".png") and len(copies) < 40:
            pixels = np.asarray(Image.open(made.images / name))
            sink = io.BytesIO()
            Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
            copies[store(root / "images", sink.getvalue(), ".png")] = name
            labels[list(copies)[-1]] = int(label) if len(copies) > 12 else 1 - int(label)
    return Made(write_labels(root / "label.csv", labels), root / "images", made.backbone), copies


@pytest.fixture
def sides(
    train: Callable[..., Done], runs: Callable[[], list[Any]], planted: tuple[Made, dict[str, str]]
) -> Callable[..., tuple[Done, Any, pd.Series, pd.DataFrame | None]]:
    """A run with words added: what it printed, the run, object id -> split, and its near_duplicates.csv."""
    made, _ = planted

    def sides(*words: str) -> tuple[Done, Any, pd.Series, pd.DataFrame | None]:
        done = train(*made.words, "tracking.log_model=false", *words)
        assert done.code == 0, done.err
        run = runs()[-1]
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        listed = folder / "near_duplicates.csv"
        split_of = pd.read_parquet(folder / "predictions.parquet").set_index("object_id")["split"]
        return done, run, split_of, pd.read_csv(listed) if listed.exists() else None

    return sides


EXACT = "split.near_duplicate_similarity=0.9999"  # the toy backbone's 16 features tell little else apart


def test_a_run_reports_clusters_that_cross_and_keeps_them_whole_when_asked(
    sides: Callable[..., tuple[Done, Any, pd.Series, pd.DataFrame | None]], planted: tuple[Made, dict[str, str]]
) -> None:
    made, copies = planted
    original_names.write(made.images.parent, [Origin(copy, f"cats/{copy[:6]}.png", "") for copy in copies])
    done, run, split_of, listed = sides(EXACT)
    apart = {copy for copy, original in copies.items() if split_of[copy] != split_of[original]}
    mislabelled = set(list(copies)[:12])
    assert len(apart) > 5
    assert run.data.metrics["workings/leak/near_duplicates_across_splits"] == len(apart)
    assert run.data.metrics["workings/leak/near_duplicates_across_labels"] == 12
    said = f"Clusters of near-duplicates: {len(apart)} lie on several sides of the split, 12 hold both labels"
    assert said in done.out
    assert "split.group=near_duplicate, of the sha1 rules, keeps each on one side" in done.out
    assert listed is not None
    assert list(listed.columns) == ["cluster", "object_id", "split", "label", "file"]
    files = dict(zip(listed["object_id"], listed["file"], strict=True))
    assert all(files[copy] == f"cats/{copy[:6]}.png" and files[copies[copy]] == copies[copy] for copy in apart)
    crossing = apart | mislabelled
    assert apart & mislabelled
    assert listed["object_id"].is_unique
    assert set(listed["object_id"]) == crossing | {copies[copy] for copy in crossing}
    assert (listed.groupby("cluster")["object_id"].min() == listed["cluster"].unique()).all()

    done, run, split_of, listed = sides(EXACT, "split.group=near_duplicate")
    assert all(split_of[copy] == split_of[original] for copy, original in copies.items())
    assert run.data.metrics["workings/leak/near_duplicates_across_splits"] == 0
    assert listed is not None
    assert len(listed) == 24, "both labels, on one side"
    assert "keeps each on one side" not in done.out


def test_the_label_files_own_column_goes_first(
    sides: Callable[..., tuple[Done, Any, pd.Series, pd.DataFrame | None]],
    planted: tuple[Made, dict[str, str]],
    tmp_path: Path,
) -> None:
    """As kesikaran data near-duplicates writes it: here every image is alone, so the split is the article's."""
    made, _ = planted
    table = pd.read_csv(made.labels)
    table["near_duplicate"] = [f"c{i}" for i in range(len(table))]
    table.to_csv(tmp_path / "label.csv", index=False)
    _, run, split_of, listed = sides(f"data.labels={tmp_path / 'label.csv'}", "split.group=near_duplicate")
    plain = split_rules.sha1_low_byte(label_file.read_labels(made.labels).table, SplitConfig())
    assert split_of.to_dict() == plain.set_index("object_id")["split"].to_dict()
    assert listed is None
    assert run.data.metrics["workings/leak/near_duplicates_across_splits"] == 0


# ---- kesikaran data near-duplicates


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """60 pictures, 24 of them also as copies, the last five of those under the other label: copy -> original."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "images").mkdir()
    labels: dict[str, int] = {}
    copies: dict[str, str] = {}
    for i in range(60):
        image = picture(random)
        name = store(folder / "images", encoded(np.asarray(image), "PNG"), ".png")
        labels[name] = i % 2
        if i < 24:
            sink = io.BytesIO()
            COPIES[i % 3](image).save(sink, "PNG" if i % 3 else "JPEG", quality=50)
            copies[store(folder / "images", sink.getvalue(), ".png" if i % 3 else ".jpg")] = name
            labels[list(copies)[-1]] = i % 2 if i < 19 else 1 - i % 2
    lines = [f"{name},{label},{i}\n" for i, (name, label) in enumerate(labels.items())]
    (folder / "label.csv").write_text("objectId,value,camera\n" + "".join(lines))
    return folder, copies


@pytest.fixture
def data(drawn: tuple[Path, dict[str, str]], tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The drawn pictures in a folder that the test may damage."""
    folder, copies = drawn
    return Path(shutil.copytree(folder, tmp_path, dirs_exist_ok=True)), copies


def test_the_script_writes_the_column_and_shows_what_crosses(
    script: Callable[..., Done], data: tuple[Path, dict[str, str]]
) -> None:
    folder, copies = data
    another = folder / "images" / copies[list(copies)[1]]
    (folder / "images" / next(iter(copies))).write_bytes(another.read_bytes())  # as a run would refuse it
    labels, out, sides = folder / "label.csv", folder / "out.csv", folder / "split.csv"
    assert script("split", labels, "--out", sides).code == 0
    done = script("near_duplicates", folder, "--split", sides, "--out", out)
    assert done.code == 0, done.err
    given, written = pd.read_csv(labels), pd.read_csv(out)
    pd.testing.assert_frame_equal(written.drop(columns="near_duplicate"), given)
    cluster = written.set_index("objectId")["near_duplicate"]
    damaged, *whole = copies
    assert all(cluster[copy] == cluster[copies[copy]] == min(copy, copies[copy]) for copy in whole)
    assert cluster.nunique() == len(given) - len(whole)
    side = pd.read_csv(sides).set_index("objectId")["type"]
    apart = sum(side[copy] != side[copies[copy]] for copy in whole)
    assert f"{damaged}: its content has another SHA-1 than its name" in done.out
    assert f"23 clusters of near-duplicates hold 46 of {len(given)} images." in done.out
    assert "5 clusters hold both labels:" in done.out
    assert apart > 0
    assert f"{apart} clusters lie on several sides:" in done.out
    assert done.out.count("\n") == 1 + 1 + 2 + 3 * 5 + 2 + 3 * apart + 1
    copy = list(copies)[-1]  # under the other label
    first, second = sorted([copy, copies[copy]])
    label = given.set_index("objectId")["value"]
    assert f"\n\n  label {label[first]}  {first}\n  label {label[second]}  {second}\n" in done.out

    grouped = script("split", out, "--group", "near_duplicate", "--out", sides)
    assert grouped.code == 0, grouped.err
    side = pd.read_csv(sides).set_index("objectId")["type"]
    assert all(side[copy] == side[copies[copy]] for copy in whole)


def test_by_default_the_scripts_write_into_the_data_set_and_show_the_names_of_its_files(
    script: Callable[..., Done], data: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, copies = data
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    damaged, *_, copy = copies
    (folder / "images" / damaged).write_bytes(b"")
    given = [Origin(damaged, "cats/damaged.jpg", ""), Origin(copy, "cats/copy.jpg", "")]
    original_names.write(folder, [*given, Origin(copies[copy], "dogs/tabby.jpg", "")])
    done = script("near_duplicates", folder)
    assert done.code == 0, done.err
    assert "cats/damaged.jpg: empty\n" in done.out
    shown = [line.split("  ")[-1] for line in done.out.splitlines() if "/" in line]
    assert {"cats/copy.jpg", "dogs/tabby.jpg"} < set(shown)
    assert done.out.endswith(f"column near_duplicate written to {folder / 'near_duplicates.csv'}\n")
    done = script("split", folder / "near_duplicates.csv", "--group", "near_duplicate")
    assert done.out.endswith(f" written to {folder / 'split_label.csv'}\n")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert {"near_duplicates.csv", "split_label.csv"} < {path.name for path in folder.iterdir()}


def test_a_stopped_script_writes_nothing(
    script: Callable[..., Done], data: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hash = near_duplicates.by_hash

    def interrupted(hashes: np.ndarray, distance: int) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return by_hash(hashes, distance)

    monkeypatch.setattr(near_duplicates, "by_hash", interrupted)
    folder, _ = data
    done = script("near_duplicates", folder, "--out", folder / "out.csv")
    assert (done.code, done.err) == (130, "Stopped. Nothing was written.\n")
    assert sorted(path.name for path in folder.iterdir()) == ["images", "label.csv"]


def test_bad_input_of_the_scripts(script: Callable[..., Done], data: tuple[Path, dict[str, str]]) -> None:
    folder, copies = data
    labels = folder / "label.csv"
    before = sorted(folder.iterdir())
    wrong: list[tuple[tuple[object, ...], str]] = [
        ((folder, "--distance", 64), "--distance 64 is not allowed: 0 to 63 bits"),
        ((folder / "images",), "has no folder images"),
        ((folder, "--split", labels), "has no column type"),
        ((folder, "--out", labels), f"is {labels} itself"),
        (
            (folder, "--out", folder / "no" / "such"),
            "cannot be written: No such file or directory; give another place with --out",
        ),
    ]
    for words, says in wrong:
        done = script("near_duplicates", *words)
        assert done.code == 1
        assert done.err.startswith("error: ")
        assert says in done.err, done.err
    wrong = [
        (("--group", "session"), f"--group session is no column of {labels}; it has: label, camera"),
        (("--group", "camera", "--pin", folder / "split.csv"), "--pin does not go with --group"),
    ]
    for words, says in wrong:
        script("split", labels, "--out", folder / "split.csv")
        done = script("split", labels, "--out", folder / "other.csv", *words)
        (folder / "split.csv").unlink()
        assert done.code == 1
        assert says in done.err, done.err
    assert sorted(folder.iterdir()) == before
    for name in [*copies, *copies.values(), *pd.read_csv(labels)["objectId"]]:
        (folder / "images" / name).unlink(missing_ok=True)
    done = script("near_duplicates", folder, "--out", folder / "out.csv")
    assert done.code == 1
    assert f"error: none of the 84 images of {labels} can be read" in done.err
    assert not (folder / "out.csv").exists()
