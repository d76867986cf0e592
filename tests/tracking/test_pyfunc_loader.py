"""A logged model as MLflow calls it: `mlflow.pyfunc`, and the server of `mlflow models serve` by real requests."""

import ast
import base64
import io
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import encoded
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from kesikaran.tracking import models, pyfunc_loader

pytestmark = pytest.mark.tensorflow

COUNT = 5
NAMES = ["label", "probability", "sure", "logit", "extra"]  # as they are answered


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers with the red of an image's first pixel, more outputs than today's classifier among it."""
    import tensorflow as tf

    class Red(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
        def judge(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
            def red(image: tf.Tensor) -> tf.Tensor:
                return tf.io.decode_image(image, channels=3, expand_animations=False)[0, 0, 0]

            logit = tf.cast(tf.map_fn(red, encoded, fn_output_signature=tf.uint8), tf.float32)
            label = tf.cast(logit >= 100, tf.int64)
            shares = {"probability": logit / 200, "extra": logit * 2}
            return {"logit": logit, "label": label, "sure": tf.abs(logit - 100) > 10, **shares}

        def signatures(self) -> dict[str, Any]:
            return {"serving_default": self.judge.get_concrete_function()}

    folder = tmp_path_factory.mktemp("red") / "model"
    models.save_model(Red(), folder)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Any:
    path = list(sys.path)
    yield mlflow.pyfunc.load_model(str(folder))
    sys.path[:] = path


def image(red: int, kind: str = "PNG") -> bytes:
    return encoded(np.full((2, 2, 3), red, np.uint8), kind)


@pytest.fixture
def images() -> list[bytes]:
    """The first is of label 0 and the others are of label 1; the second is not sure."""
    return [image(40 * n + 60) for n in range(COUNT)]


def test_a_list_an_array_and_a_table_of_images_give_a_table(served: Any, images: list[bytes]) -> None:
    table = pd.DataFrame({"encoded": images, "name": "of no interest"}, index=[*"abcde"])
    for given in (
        images,
        np.array(images, object),
        table,
        pd.Series(images),
        [base64.b64encode(one) for one in images],
    ):
        found = served.predict(given)
        assert list(found.columns) == NAMES
        assert found["label"].tolist() == [0, 1, 1, 1, 1]
        assert found["logit"].tolist() == [60, 100, 140, 180, 220]
        assert found["sure"].tolist() == [True, False, True, True, True]
        assert list(found.index) == (list(table.index) if given is table else [0, 1, 2, 3, 4])
    assert {name: kind.name for name, kind in found.dtypes.items()} == {
        "label": "int64", "probability": "float32", "sure": "bool", "logit": "float32", "extra": "float32"
    }  # fmt: skip


def test_a_bitmap_keeps_the_zeros_it_ends_with(served: Any) -> None:
    """An array of bytes would lose them, and a bitmap that is cut short cannot be read."""
    black = encoded(np.zeros((9, 9, 3), np.uint8), "BMP")
    assert black.endswith(b"\0")
    assert served.predict([black, image(120)])["logit"].tolist() == [0, 120]


def test_many_images_are_judged_in_batches(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    impl = served._model_impl
    answer = impl._answer

    def counted(batch: list[bytes]) -> Any:
        sizes.append(len(batch))
        return answer(batch)

    monkeypatch.setattr(impl, "_answer", counted)
    many = [image(n) for n in range(130)]
    assert served.predict(many)["logit"].tolist() == [*range(130)]
    assert sizes == [64, 64, 2]
    many[70] = b"\xffnothing"
    with pytest.raises(MlflowException, match="Image 71 of 130 cannot be read"):
        served.predict(many)


def test_what_mlflow_is_told_of_the_model(folder: Path) -> None:
    signature = Model.load(folder).signature
    assert [(spec.name, spec.type.name) for spec in signature.inputs] == [(None, "binary")]
    kinds = ["long", "float", "boolean", "float", "float"]
    assert [(spec.name, spec.type.name) for spec in signature.outputs] == list(zip(NAMES, kinds, strict=True))


def test_the_loader_needs_nothing_of_this_package(folder: Path) -> None:
    (copy,) = (folder / models.CODE).glob("*.py")
    assert copy.read_bytes() == Path(pyfunc_loader.__file__).read_bytes()
    assert Model.load(folder).flavors["python_function"]["loader_module"] == copy.stem
    names = set()
    for node in ast.walk(ast.parse(copy.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
    assert names - sys.stdlib_module_names == {"mlflow", "numpy", "pandas", "tensorflow"}


def test_models_of_two_versions_load_in_one_process(
    folder: Path, served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the loader that lies in its folder, though a process imports a name once."""
    import tensorflow as tf

    other = tmp_path / "pyfunc_loader.py"
    other.write_text(Path(pyfunc_loader.__file__).read_text().replace("cannot be read", "is of no use"))
    monkeypatch.setattr(pyfunc_loader, "__file__", str(other))
    monkeypatch.syspath_prepend(tmp_path)  # puts sys.path back, to which MLflow adds
    loaded = tf.saved_model.load(str(folder / models.SAVED_MODEL))

    class Wrapped(tf.Module):
        def __init__(self) -> None:
            self.loaded = loaded

        def signatures(self) -> dict[str, Any]:
            return dict(loaded.signatures)

    models.save_model(Wrapped(), tmp_path / "model")
    with pytest.raises(MlflowException, match="is of no use"):
        mlflow.pyfunc.load_model(str(tmp_path / "model")).predict([b"\xff"])
    with pytest.raises(MlflowException, match="cannot be read"):
        served.predict([b"\xff"])


def test_tensorflow_loads_what_it_did(folder: Path, images: list[bytes]) -> None:
    import tensorflow as tf

    loaded = mlflow.tensorflow.load_model(str(folder))
    assert loaded.signatures["serving_default"](encoded=tf.constant(images))["label"].numpy().tolist() == [
        0,
        1,
        1,
        1,
        1,
    ]


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def ask(served: Any) -> Iterator[Ask]:
    """(status, JSON) of a request to the program that `mlflow models serve` starts, which it serves by uvicorn too."""
    import uvicorn
    from mlflow.pyfunc import scoring_server

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")  # which the program sets, to be put back
        program = scoring_server.init(served)
        server = uvicorn.Server(uvicorn.Config(program, port=0, log_level="critical"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        def ask(body: Any, kind: str = "application/json") -> tuple[int, Any]:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", sent, {"Content-Type": kind})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        yield ask
        server.should_exit = True
        thread.join()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def split(*values: object, column: str = "encoded") -> dict[str, Any]:
    return {"dataframe_split": {"columns": [column], "data": [[value] for value in values]}}


def test_a_server_answers_one_image_and_many(ask: Ask, images: list[bytes]) -> None:
    rows = [dict(zip(NAMES, (int(n > 0), 0.3 + 0.2 * n, n != 1, 60 + 40 * n, 120 + 80 * n), strict=True))
            for n in range(COUNT)]  # fmt: skip
    for count in (1, COUNT):
        status, answer = ask(split(*map(text, images[:count])))
        assert status == 200
        found = answer["predictions"]
        assert [*found[0]] == NAMES
        assert [pytest.approx(row) for row in rows[:count]] == found
        assert {type(value) for value in (found[0]["label"], found[0]["sure"])} == {int, bool}


def test_a_server_takes_each_form_that_can_hold_an_image(ask: Ask) -> None:
    given = text(image(100, "JPEG"))
    bodies: list[Any] = [
        {"dataframe_split": {"data": [[given]]}},
        {"dataframe_records": [{"encoded": given}]},
        {"inputs": [given]},
        {"instances": [given]},
        {"instances": [{"encoded": given}]},
        {"instances": [{"b64": given}]},  # TensorFlow Serving's
    ]
    for body in bodies:
        status, answer = ask(body)
        assert status == 200, (str(body)[:60], answer)
        assert [row["label"] for row in answer["predictions"]] == [1]
    table = io.BytesIO()
    pd.DataFrame({"encoded": [image(100)] * 2}).to_parquet(table)
    status, answer = ask(table.getvalue(), "application/vnd.apache.parquet")
    assert (status, len(answer["predictions"])) == (200, 2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (split(), "There is no image"),
        (
            split(text(b"a text\n"), text(image(1))),
            "Image 1 of 2 cannot be read: needed are the bytes of a JPEG or PNG",
        ),
        (split(text(image(1)), text(image(1)[:40])), "Image 2 of 2 cannot be read"),
        (split(""), "Image 1 of 1 cannot be read"),
        (split(text(image(1)), column="name"), "The first column is 'name': the images are to be in `encoded`."),
        ({"inputs": ["no base64"]}, "Image 1 of 1 cannot be read"),
        # Of these MLflow itself says what is wrong.
        (split(None), "encoding without a string argument"),
        (split("abc"), "Incorrect padding"),
        ({"inputs": []}, "missing inputs"),
        ({"images": []}, "exactly one of the input fields"),
        (b"\x89PNG", "valid JSON formatted string"),
    ],
    ids=["none", "a text", "cut short", "empty", "column", "no base64", "null", "padding", "[]", "key", "bytes"],
)
def test_a_server_refuses_what_is_no_image_in_a_sentence(ask: Ask, body: Any, says: str) -> None:
    status, answer = ask(body)
    assert status == 400
    assert says in answer["message"]
    assert "stack_trace" not in answer
    assert ask(split(text(image(1))))[0] == 200, "the server works on"


def test_what_is_no_bytes_is_refused(served: Any) -> None:
    with pytest.raises(MlflowException, match="Image 2 of 2 is of type NoneType: needed are the bytes of a JPEG"):
        served.predict(pd.DataFrame({"encoded": [image(1), None]}))
