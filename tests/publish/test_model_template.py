"""One graph for all runs of a backbone and a shape of head; a complete model, and its own, for each of them."""

import ast
import errno
import importlib
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from kesikaran.models import backbone

    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    backbone.load.cache_clear()  # or the new cache would lack its mark
    return tmp_path / "cache"


@pytest.fixture
def config(made: Made) -> Any:
    from kesikaran.config.schema import BackboneConfig

    return BackboneConfig(handle=str(made.backbone), image_size=32)


@pytest.fixture
def net(config: Any, cache: Path) -> Any:
    from kesikaran.models import backbone

    return backbone.load(config.handle, config.image_size)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Path:
    """A cache with the template of a linear head."""
    from kesikaran.config.schema import BackboneConfig
    from kesikaran.models import backbone
    from kesikaran.publish import model_template

    config = BackboneConfig(handle=str(made.backbone), image_size=32)
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KESIKARAN_CACHE", str(folder))
        backbone.load.cache_clear()
        model_template.template(backbone.load(config.handle, config.image_size), config, [])
    return folder


@pytest.fixture
def template(built: Path, net: Any, config: Any, cache: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The template of a linear head, not built anew, in a cache that the test may damage."""
    from kesikaran.publish import model_template

    shutil.copytree(built, cache, dirs_exist_ok=True)
    capsys.readouterr()
    folder = model_template.template(net, config, [])
    assert capsys.readouterr().out == ""
    return folder


def decided(threshold: float) -> Any:
    from kesikaran.metrics.conformal import Band
    from kesikaran.metrics.decisions import Decision

    return Decision(1.0, 0.0, threshold, Band(threshold - 1, threshold + 1, 0.05))


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("not for this run")


def head_of(saved_model: Path) -> list[np.ndarray]:
    import tensorflow as tf

    stored = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    names = sorted(name for name in stored.get_variable_to_shape_map() if name.startswith("head/"))
    return [stored.get_tensor(name) for name in names]


def test_the_second_run_of_a_shape_neither_traces_nor_loads(
    train: Callable[..., Done],
    made: Made,
    cache: Path,
    runs: Callable[[], list[Any]],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tensorflow as tf

    from kesikaran.models import backbone, hub

    words = [*made.words, "head=hidden", "head.hidden_units=[8]"]
    backbone.load.cache_clear()  # its mark is to be in this cache
    assert train(*words, "head.dropout=0").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(hub, "load_layer", never)
        patched.setattr(tf.saved_model, "save", never)
        backbone.load.cache_clear()  # as a new process would
        done = train(*words, "head.dropout=0.3", "head.l2=1e-4", "seed=1")
        assert done.code == 0, done.err

    shutil.rmtree(cache)
    models = []
    for run in runs():
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        rows = pd.read_parquet(folder / "predictions.parquet").head(40)
        encoded = [(made.images / name).read_bytes() for name in rows["object_id"]]
        # Through MLflow, by the address that its page shows: it is the run's logged model
        served = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        found = served.predict(encoded)
        assert found["probability"].to_numpy() == pytest.approx(rows["probability"].to_numpy(), abs=1e-5)
        assert found["label"].tolist() == rows["predicted"].tolist()
        assert served.metadata.run_id == run.info.run_id
        (output,) = run.outputs.model_outputs
        logged = client.get_logged_model(output.model_id)
        assert (str(logged.status), logged.experiment_id) == ("READY", run.info.experiment_id)
        # The model's metrics are the run's but for those of epochs.
        of_epochs = {
            "train/loss",
            "validation/loss",
            "validation/selection_loss",
            "validation/auc",
            "workings/learning_rate",
        }
        final = {name: value for name, value in run.data.metrics.items() if name not in of_epochs}
        assert {metric.key: metric.value for metric in logged.metrics} == final
        assert logged.params == run.data.params
        assert served.metadata.signature.outputs.input_names() == list(found.columns)
        models.append(Path(logged.artifact_location.removeprefix("file://")))
        loaded = mlflow.tensorflow.load_model(str(models[-1]))
        assert loaded(tf.constant(encoded)).numpy() == pytest.approx(rows["probability"].to_numpy(), abs=1e-5)

        size = sum(path.stat().st_size for path in (models[-1] / "tf2model").rglob("*") if path.is_file())
        assert served.metadata.model_size_bytes == size

    first, second = (head_of(model / "tf2model") for model in models)
    assert [value.shape for value in first] == [(16, 8), (8,), (8, 1), (1,)]
    assert not np.array_equal(first[0], second[0])
    files = [sorted(path.relative_to(model) for path in model.rglob("*")) for model in models]
    assert files[0] == files[1]


def test_the_fingerprint_is_of_these_variables(template: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    from kesikaran.publish import model_template
    from kesikaran.tracking import models

    saved_model = template / models.SAVED_MODEL
    model_template.write(
        saved_model, [np.ones((16, 1), np.float32), np.ones(1, np.float32)], decided(0.5), tmp_path / "model"
    )
    read = tf.saved_model.experimental.read_fingerprint
    ours, theirs = read(str(tmp_path / "model")), read(str(saved_model))
    assert ours.saved_object_graph_hash == theirs.saved_object_graph_hash
    for folder, found in ((tmp_path / "model", ours), (saved_model, theirs)):
        index = (folder / "variables" / "variables.index").read_bytes()
        farm = int.from_bytes(tf.fingerprint(tf.constant([index])).numpy().tobytes(), "little")
        assert found.checkpoint_hash == farm
    assert ours.checkpoint_hash != theirs.checkpoint_hash


def weights(value: float) -> list[np.ndarray]:
    return [np.full((16, 1), value, np.float32), np.full(1, value, np.float32)]


@pytest.mark.parametrize("linked", [True, False], ids=["links", "another file system"])
def test_a_model_is_a_head_over_files_that_all_models_share(
    linked: bool, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from kesikaran.publish import model_template
    from kesikaran.tracking import models

    def no_links(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not linked:
        monkeypatch.setattr(os, "link", no_links)
    saved_model, shared = template / models.SAVED_MODEL, []
    before = {path: path.read_bytes() for path in template.parent.rglob("*") if path.is_file()}
    for value in (1.0, 2.0):
        model = tmp_path / f"model{value:.0f}"
        model_template.write(saved_model, weights(value), decided(value), model)
        assert [found.tolist() for found in head_of(model)] == [found.tolist() for found in weights(value)]
        same = {path.relative_to(saved_model) for path in saved_model.rglob("*") if path.is_file()}
        assert {path.relative_to(model) for path in model.rglob("*") if path.is_file()} == same
        shared = [path for path in same if any(one.samefile(model / path) for one in before)]
        own_bytes = sum((model / path).stat().st_size for path in same - set(shared))
        assert (own_bytes < 20_000) == linked
        for path in shared:
            assert (model / path).stat().st_mode & 0o222 == 0, f"{path} may be written, and is part of all models"
    backbone = Path("variables", "variables.data-00000-of-00002")
    assert set(shared) == ({Path("saved_model.pb"), backbone} if linked else set())
    assert {path: path.read_bytes() for path in before} == before

    # Copied away, without any of the others, and the cache gone
    alone = tmp_path / "alone"
    shutil.copytree(tmp_path / "model2", alone)
    for folder in (template.parent, tmp_path / "model1", tmp_path / "model2"):
        shutil.rmtree(folder)
    logits = tf.saved_model.load(str(alone)).head
    assert logits is not None
    assert [found.tolist() for found in head_of(alone)] == [found.tolist() for found in weights(2.0)]


def test_an_edit_of_a_model_does_not_reach_the_next_run(
    template: Path, net: Any, config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kesikaran.publish import model_template
    from kesikaran.tracking import models

    model = tmp_path / "model"
    model_template.write(template / models.SAVED_MODEL, weights(1.0), decided(0.0), model)
    shard = model / "variables" / "variables.data-00000-of-00002"
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.write(b"edited")
    assert model_template.template(net, config, []) == template
    assert "damaged: building it again" in capsys.readouterr().out
    assert (template / models.SAVED_MODEL / "variables" / shard.name).read_bytes()[:6] != b"edited"
    assert shard.read_bytes()[:6] == b"edited"


def test_a_head_of_another_shape_is_a_defect(template: Path, tmp_path: Path) -> None:
    from kesikaran.publish import model_template
    from kesikaran.tracking import models

    saved_model = template / models.SAVED_MODEL
    with pytest.raises(AssertionError, match="in the template and"):
        model_template.write(saved_model, [np.ones((8, 1), np.float32)], decided(0.0), tmp_path / "model")


@pytest.mark.parametrize("damage", ["flip a byte", "cut short", "a file is gone", "no digest"])
def test_a_damaged_template_is_built_again(
    damage: str, template: Path, net: Any, config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from kesikaran.publish import model_template

    folder = template
    graph = folder / "tf2model" / "saved_model.pb"
    content = graph.read_bytes()
    graph.chmod(0o644)
    (folder.parent / "digest").touch()  # a change of no bytes is no damage
    assert model_template.template(net, config, []) == folder
    assert capsys.readouterr().out == ""
    if damage == "flip a byte":
        graph.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut short":
        graph.write_bytes(b"")
    elif damage == "a file is gone":
        (folder / "MLmodel").unlink()
    else:
        (folder.parent / "digest").unlink()
    capsys.readouterr()
    assert model_template.template(net, config, []) == folder
    assert "damaged: building it again" in capsys.readouterr().out
    assert mlflow.tensorflow.load_model(str(folder))
    model_template.template(net, config, [])
    assert capsys.readouterr().out == ""


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Templates with nothing in them; the folders that were made."""
    from kesikaran.publish import model_template
    from kesikaran.tracking import models

    made: list[Path] = []

    def save(_: Any, folder: Path) -> None:
        folder.mkdir()
        made.append(folder)

    monkeypatch.setattr(models, "save_model", save)
    monkeypatch.setattr(model_template, "_cut", lambda saved_model: None)
    return made


def test_what_changes_the_graph_is_another_template(
    net: Any, config: Any, saves: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.config.schema import ResizeMethod
    from kesikaran.publish import model_template

    first = model_template.template(net, config, [])
    assert model_template.template(net, replace(config, batch_size=8), []) == first
    assert len(saves) == 1
    others = [
        model_template.template(net, config, [8]),
        model_template.template(net, config, [8, 8]),
        model_template.template(net, config, [], ("identity", "flip_left_right")),
        model_template.template(net, replace(config, image_size=48), []),
        model_template.template(net, replace(config, resize_method=ResizeMethod.bicubic), []),
        model_template.template(net, replace(config, antialias=False), []),
        model_template.template(net, replace(config, value_range=[-1.0, 1.0]), []),
        # It is asked for by the digest, so one and the same module under two digests will do.
        model_template.template(replace(net, digest="0" * 32), config, []),
    ]
    monkeypatch.setattr(model_template, "version", lambda name: "99")
    others.append(model_template.template(net, config, []))
    *rooms, last = model_template._TRACED
    changed = SimpleNamespace(__file__=tmp_path / "changed.py")
    changed.__file__.write_bytes(Path(str(last.__file__)).read_bytes() + b"\n")
    monkeypatch.setattr(model_template, "_TRACED", (*rooms, changed))
    others.append(model_template.template(net, config, []))
    assert len({first, *others}) == len(saves) == 11


# Rooms that no graph holds code of: settings, which are in the key themselves, and the backbone, whose digest is.
UNTRACED = (
    "kesikaran.config", "kesikaran.core", "kesikaran.models.backbone",
    "kesikaran.tracking.artifact_writer", "kesikaran.tracking.store_client",  # they send files as they are
    "kesikaran.tracking.run_store", "kesikaran.tracking.store_file", "kesikaran.tracking.queries",  # they find models
)  # fmt: skip


def imported(room: ModuleType) -> list[ModuleType]:
    """The rooms of the package that a room imports, also within its functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(Path(str(room.__file__)).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]  # a room, or a name in one
    found = {name if name in sys.modules else name.rpartition(".")[0] for name in names if name.startswith("kesikaran")}
    return [importlib.import_module(name) for name in sorted(found)]


def test_every_room_whose_code_is_in_a_model_is_in_the_key() -> None:
    from kesikaran.models import classifier, head
    from kesikaran.publish import model_template
    from kesikaran.tracking import models

    writers = [classifier.Classifier, head.build_head, models.save_model, model_template.template]
    rooms = [sys.modules[writer.__module__] for writer in writers]
    for room in rooms[:-1]:  # the last one imports much that no graph holds
        rooms += [found for found in imported(room) if found not in rooms and not found.__name__.startswith(UNTRACED)]
    assert len(rooms) > 4
    assert {room.__name__ for room in rooms} <= {room.__name__ for room in model_template._TRACED}


def test_two_at_once_build_one(net: Any, config: Any, saves: list[Path]) -> None:
    from kesikaran.publish import model_template

    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(model_template.template(net, config, []))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(saves) == 1
    assert found[0] == found[1]
    key = found[0].parent
    assert sorted(os.listdir(key.parent)) == [key.name, f"{key.name}.lock"], "nothing half built stays"


def test_no_room_for_a_template(
    train: Callable[..., Done], made: Made, cache: Path, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from kesikaran.tracking import models

    def full(_: Any, folder: Path) -> None:
        folder.mkdir()
        tf.io.write_file("/dev/full", b"0" * 2**20)

    monkeypatch.setattr(models, "save_model", full)
    done = train(*made.words)
    assert done.code == 1
    assert "error: the cache folder " in done.err
    for remedy in ("No space left on device", "KESIKARAN_CACHE", "tracking.log_model=false"):
        assert remedy in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert [run.info.status for run in runs()] == ["FAILED"]
    assert [path.suffix for path in (cache / "models").iterdir()] == [".lock"]
    assert train(*made.words, "tracking.log_model=false").code == 0


def test_no_room_for_a_model_leaves_none_and_the_run_is_closed(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.publish import model_template

    def full(_: Any, target: Path) -> None:
        (target / "half").write_bytes(b"0")
        Path("/dev/full").write_bytes(b"0")

    monkeypatch.setattr(model_template, "_write_fingerprint", full)
    done = train(*made.words)
    assert done.code == 1
    assert "error: the store of runs or the temporary folder " in done.err
    assert "tracking.log_model=false" in done.err
    (run,) = runs()
    assert run.info.status == "FAILED"
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert not Path(model.artifact_location.removeprefix("file://")).exists()


def test_no_room_for_anything_else_of_a_run(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kesikaran.tracking.open_run.Run.picture", lambda *_: Path("/dev/full").write_bytes(b"0"))
    done = train(*made.words, "tracking.log_model=false")
    assert done.code == 1
    assert "has no room left (No space left on device): free some space, or set MLFLOW_TRACKING_URI" in done.err
    assert [run.info.status for run in runs()] == ["FAILED"]
