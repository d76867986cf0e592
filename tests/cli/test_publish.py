"""`kesikaran publish`: the folder of a run, what it is good for without this program, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import Done, Made, one_line
from registrable import finished

from kesikaran.cli import predict as predict_door
from kesikaran.cli import publish as door
from kesikaran.publish import facts
from kesikaran.tracking import artifacts, queries, registry, run_store
from kesikaran.tracking.queries import Record

pytestmark = pytest.mark.tensorflow

FILES = {"README.md", "labels.json", "parity.csv", "saved_model", "model.tflite", "model_int8.tflite"}
# A band with two ends, and labels of both kinds on both sides.
WORDS = ("decision=tuned", "decision.error=0.3", "augment=flips", "publish.max_changed=0.004")
# Without this program: TensorFlow alone, as its documentation says.
ALONE = """
import json, sys
import tensorflow as tf
folder, *images = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
given = serve(encoded=tf.constant([open(image, "rb").read() for image in images]))
assert not [name for name in sys.modules if name.startswith("kesikaran")]
print(json.dumps({name: value.numpy().tolist() for name, value in given.items()}))
"""

Publish = Callable[..., Done]


@pytest.fixture
def publish(run: Callable[..., Done]) -> Publish:
    """`kesikaran publish WORDS`."""
    return lambda *words: run(door.main, "kesikaran publish", *words)


@pytest.fixture(scope="module")
def sweep(made: Made) -> Record:
    """A sweep of two jobs, of which the second learns. Its models judge the mean over several views."""
    from kesikaran import train
    from kesikaran.experiment import identity

    words = [*made.words, *WORDS, "optimizer.lr=1e-6,0.3"]
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr(identity, "code", lambda: __name__)
        patch.setattr(sys, "argv", ["kesikaran-train", "-m", *words])
        train.main()
    with run_store.reading("the sweep") as client:
        parent, *_ = queries.search(client, f"tags.{queries.PLANNED_TAG} = '2' and attributes.status = 'FINISHED'")
    return parent


@pytest.fixture(scope="module")
def trained(sweep: Record) -> str:
    """The id of the better job."""
    first, second = queries.jobs(sweep.run_id)
    assert second.metrics["validation/selection_log_loss"] < first.metrics["validation/selection_log_loss"]
    return second.run_id


@pytest.fixture(scope="module")
def published(trained: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder. Read only."""
    folder = tmp_path_factory.mktemp("published") / "a model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kesikaran publish", trained, "--out", str(folder), "--no-page"])
        door.main()
    return folder


@pytest.fixture
def quick(published: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The conversions take seconds: they give the files of `published`, or what the test sets."""
    from kesikaran.publish import tflite

    given = SimpleNamespace(
        float16=(published / "model.tflite").read_bytes(), int8=(published / "model_int8.tflite").read_bytes()
    )
    monkeypatch.setattr(tflite, "float16", lambda *_: given.float16)
    monkeypatch.setattr(tflite, "int8", lambda *_: given.int8)
    return given


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """The folder to publish in; nothing may be left beside it."""
    (tmp_path / "place").mkdir()
    yield tmp_path / "place" / "out"
    assert {path.name for path in (tmp_path / "place").iterdir()} <= {"out"}


def refused(done: Done, says: str) -> None:
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.endswith("\n")
    assert one_line(done.err[:-1])
    assert says in done.err


def logged(run_id: str) -> pd.DataFrame:
    rows = artifacts.predictions(run_id)
    return rows[rows["split"] != "train"].reset_index(drop=True)


def other() -> bytes:
    """The `.tflite` file of another model with the same input."""
    import tensorflow as tf

    from kesikaran.publish import tflite

    @tf.function(input_signature=[tf.TensorSpec([1, 32, 32, 3], tf.float32)])
    def logit(image: Any) -> Any:
        return tf.reduce_mean(image, [1, 2, 3]) * 3 - 2

    with tflite._quiet():
        converted: bytes = tf.lite.TFLiteConverter.from_concrete_functions([logit.get_concrete_function()]).convert()
    return converted


def test_the_folder_has_all_and_every_copy_says_the_same(published: Path, trained: str) -> None:
    assert {path.name for path in published.iterdir()} == FILES
    assert all(os.access(path, os.W_OK) and path.stat().st_mode & 0o200 for path in published.rglob("*"))
    found = pd.read_csv(published / "parity.csv")
    assert list(zip(found["format"], found["split"], strict=True)) == [
        (name, side) for name in ("saved_model", "model.tflite", "model_int8.tflite") for side in ("validation", "test")
    ]
    rows = logged(trained)
    assert found["n"].tolist() == 3 * [int((rows["split"] == side).sum()) for side in ("validation", "test")]
    assert rows["predicted"].nunique() == 2, "one label alone would prove nothing"
    exact = found[found["format"] == "saved_model"]
    assert (exact[["changed_labels", "changed_sure"]] == 0).all(axis=None)
    assert exact["largest_difference"].max() < 1e-6
    rounded = found[found["format"] == "model.tflite"]["largest_difference"]
    assert rounded.between(1e-7, 0.01).all(), "the weights are rounded"


def test_what_the_files_say_is_the_runs(published: Path, trained: str) -> None:
    record, about = queries.find(trained), facts.read(published / "saved_model")
    said = json.loads((published / "labels.json").read_text())
    assert (said["run_id"], said["labels"]) == (trained, ["0", "1"])
    assert said["label_1_from"]["log_odds"] == pytest.approx(record.metrics["decision/threshold"], abs=1e-6)
    assert about.band
    assert (said["not_sure"]["from"]["log_odds"], said["not_sure"]["error"]) == (about.band.low, 0.3)
    text = (published / "README.md").read_text()
    assert text.startswith(f"# made: {record.name}\n")
    assert f"| accuracy | {record.metrics['test/accuracy']:.3f} [" in text
    assert "kesikaran predict 'a model' PHOTOS" in text
    assert len(about.views) > 1
    assert f"; the mean over {len(about.views)} views is judged." in text
    assert "  - `decision.error=0.3`\n" in text


def test_the_saved_model_works_without_this_program(published: Path, trained: str, made: Made, tmp_path: Path) -> None:
    rows = logged(trained)
    command = [sys.executable, "-c", ALONE, str(published / "saved_model")]
    images = [str(made.images / name) for name in rows["object_id"]]
    where = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*command, *images], env=where, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    given = json.loads(done.stdout)
    assert given["label"] == rows["predicted"].tolist()
    assert given["sure"] == rows["sure"].tolist()
    assert given["probability"] == pytest.approx(rows["probability"].tolist(), abs=1e-5)


def test_predict_takes_the_folder(
    published: Path, trained: str, made: Made, tmp_path: Path, run: Callable[..., Done]
) -> None:
    rows = logged(trained).iloc[:5]
    images = [made.images / name for name in rows["object_id"]]
    done = run(predict_door.main, "kesikaran predict", published, *images, "--out", tmp_path / "found.csv")
    assert done.code == 0, done.err
    assert pd.read_csv(tmp_path / "found.csv")["label"].tolist() == rows["predicted"].tolist()


def test_a_copy_that_drifts_stops_all(quick: SimpleNamespace, publish: Publish, trained: str, out: Path) -> None:
    done = publish(trained, "--out", out, "--no-page", "publish.max_difference=0")
    assert publish("publish.max_difference=0", "--out", out, trained, "--no-page") == done, "in any order"
    refused(done, f"model.tflite is not what run {trained} has logged: a probability is another by ")
    assert "allowed 0 (publish.max_difference); nothing is published" in done.err
    quick.float16 = other()
    refused(
        publish(trained, "--out", out, "--no-page"), " labels are others, allowed 0.40% (publish.max_changed); nothing"
    )
    assert not out.exists()


def test_small_weights_that_drift_are_left_out_and_it_is_said(
    quick: SimpleNamespace, publish: Publish, trained: str, out: Path
) -> None:
    quick.int8 = other()
    done = publish(trained, "--out", out, "--no-page")
    assert (done.code, done.err) == (0, "")
    assert {path.name for path in out.iterdir()} == FILES - {"model_int8.tflite"}
    assert set(pd.read_csv(out / "parity.csv")["format"]) == {"saved_model", "model.tflite"}
    said = (out / "README.md").read_text()
    assert "There is no `model_int8.tflite`: with 8 bits " in said
    assert "| `model_int8.tflite` |" not in said


def test_only_a_published_folder_is_replaced_and_only_when_asked(
    quick: SimpleNamespace, publish: Publish, trained: str, out: Path
) -> None:
    out.mkdir()
    words = (trained, "--out", out, "--no-page")
    (out / "mine.txt").write_text("mine")
    for more in ((), ("--force",)):
        refused(publish(*words, *more), "is there already and no published folder; give another")
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    assert publish(*words).code == 0, "an empty folder is in nobody's way"
    (out / "README.md").write_text("old")
    refused(publish(*words), "is there already; give another folder, or --force to replace it")
    assert (out / "README.md").read_text() == "old"
    refused(publish(*words, "--force", "publish.max_difference=0"), "nothing is published")
    assert (out / "README.md").read_text() == "old", "the old one stays until the new one is whole"
    assert publish(*words, "--force").code == 0
    assert (out / "README.md").read_text() != "old"
    link = out.parent.parent / "link"
    link.symlink_to(out)
    (out / "README.md").write_text("old")
    assert publish(trained, "--out", link, "--no-page", "--force").code == 0
    assert link.is_symlink()
    assert (out / "README.md").read_text() != "old"
    (out.parent.parent / "file").touch()
    refused(publish(trained, "--out", out.parent.parent / "file"), "is a file; give a folder")


def test_what_another_command_has_published_meanwhile_stays(
    quick: SimpleNamespace, publish: Publish, published: Path, trained: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.publish import folder

    unpatched = folder.card.render

    def late(*given: Any) -> str:
        shutil.copytree(published, out)
        (out / "README.md").write_text("of the other command")
        return unpatched(*given)

    monkeypatch.setattr(folder.card, "render", late)
    refused(publish(trained, "--out", out, "--no-page"), "is there already; give another folder, or --force")
    assert (out / "README.md").read_text() == "of the other command"


def test_a_stop_and_a_full_disk_leave_nothing(
    quick: SimpleNamespace, publish: Publish, trained: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.publish import folder

    def stop(*_: object) -> None:
        raise SystemExit(143)

    words = (trained, "--out", out, "--no-page")
    for room, name in ((folder.parity, "measure"), (folder.card, "render")):
        with monkeypatch.context() as patch:
            patch.setattr(room, name, stop)
            assert publish(*words).code == 143
        assert list(out.parent.iterdir()) == []

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    for room, name in ((shutil, "copytree"), (folder.files, "write_whole")):
        with monkeypatch.context() as patch:
            patch.setattr(room, name, full)
            refused(publish(*words), f"the folder {out.parent} has no room left")
        assert list(out.parent.iterdir()) == []


def test_images_that_are_gone_or_changed(
    quick: SimpleNamespace, publish: Publish, trained: str, out: Path, made: Made, tmp_path: Path
) -> None:
    words = (trained, "--out", out, "--no-page", "--images", tmp_path / "copy")
    refused(publish(*words), f"image folder {tmp_path / 'copy'} does not exist; give --images FOLDER")
    shutil.copytree(made.images, tmp_path / "copy")
    name = logged(trained)["object_id"][3]
    (tmp_path / "copy" / name).write_bytes(b"another")
    refused(publish(*words), f"image {name} cannot be used: ")
    (tmp_path / "copy" / name).unlink()
    refused(publish(*words), f"image {name} is not in {tmp_path / 'copy'}; --images FOLDER names")
    assert not out.exists()


def test_without_npm_the_page_is_refused_before_the_work(
    publish: Publish, trained: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.publish import tflite

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delattr(tflite, "float16")
    refused(publish(trained, "--out", out), "npm is not installed: install it, or publish with --no-page")


def test_words_that_do_not_go_together(publish: Publish, trained: str, out: Path) -> None:
    for words, says in (
        ((), "nothing to do: give --out FOLDER, --register NAME, or both"),
        (("--out", out, "--alias", "best"), "--alias is not allowed without --register NAME"),
        (("--register", "a", "--force"), "--force is not allowed without --out FOLDER"),
        (("--out", out, "publish.max_changed=nan"), "publish.max_changed=nan is not allowed: 0 to 1"),
        (("--out", out, "publish.max_changed=much"), "publish.max_changed=much is not allowed: a number of 0 to 1 is"),
        (("--out", out, "publish.most=1"), "publish.most=1 is not allowed: of a finished run publish.max_difference, "),
        (
            ("--out", out, "optimizer.lr=1"),
            f"2 runs are given ({trained} optimizer.lr=1): give one, and beside it only publish.KEY",
        ),
        (("--register", "a", "publish.max_changed=0"), "publish.max_changed=0 is not allowed without --out FOLDER"),
        (("--out", out, "--register", "a/b"), "a/b is no name of a registered model"),
        (("--out", out, "--register", "a", "--alias", "latest"), "the alias latest is not allowed"),
        (("--out", out, "--register", "a", "--alias", ""), "models:/a@ is not allowed"),
    ):
        refused(publish(trained, *words), says)
    refused(publish(out.parent, "--out", out), "is a folder; a run is published: give its id or name")
    refused(publish("no such run", "--out", out), "there is no run no such run")
    bare = finished("bare", has_model=False).run_id
    refused(publish(bare, "--out", out), "has no model (tracking.log_model=false")
    assert not out.exists()


def test_a_version_with_an_alias(publish: Publish, trained: str) -> None:
    name = f"cells {uuid.uuid4().hex[:8]}"
    done = publish(trained, "--register", name, "--alias", "champion")
    assert (done.code, done.err) == (0, "")
    assert f"Version 1 of the registered model {name} is run {trained}." in done.out
    assert done.out.endswith(f"models:/{name}@champion names it.\n")
    found = registry.resolve(f"models:/{name}@champion")
    assert (found.record.run_id, found.version) == (trained, 1)
    again = publish(f"models:/{name}@champion", "--register", name)
    assert again.out.startswith("Version 1 of"), "a run keeps its version"


def test_a_failed_gate_is_refused_before_anything_is_written(
    publish: Publish, trained: str, out: Path, client: Any
) -> None:
    name = f"cells {uuid.uuid4().hex[:8]}"
    client.set_tag(trained, "gate", "failed")
    try:
        refused(publish(trained, "--out", out, "--no-page", "--register", name), "has not passed its gate")
    finally:
        client.delete_tag(trained, "gate")
    assert not out.exists()
    assert not client.search_registered_models(f"name = '{name}'")


def test_a_sweep_publishes_its_best_job(
    quick: SimpleNamespace, publish: Publish, sweep: Record, trained: str, out: Path
) -> None:
    done = publish(sweep.run_id, "--out", out, "--no-page")
    assert (done.code, done.err) == (0, "")
    assert facts.read(out / "saved_model").run_id == trained


def test_a_fine_tuned_run(
    train: Callable[..., Done],
    publish: Publish,
    made: Made,
    runs: Callable[[], list[Any]],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kesikaran.publish import tflite

    # What 8 bits do is seen above, and takes seconds.
    monkeypatch.setattr(tflite, "int8", lambda module, size, views, _: tflite.float16(module, size, views))
    tune = ("finetune=probe_then_all", "finetune.epochs=1", "finetune.lr=0.01", "finetune.batch_size=16")
    assert train(*made.words, *WORDS, *tune).code == 0
    (tuned,) = runs()
    done = publish(tuned.info.run_id, "--out", out, "--no-page")
    assert (done.code, done.err) == (0, "")
    found = pd.read_csv(out / "parity.csv")
    assert (found["changed_labels"] == 0).all()
    assert f"digest `{tuned.data.tags['tuned_backbone_digest']}`" in (out / "README.md").read_text()
