"""The trainable network: what of a backbone is trained, how deep it lies, and what the statistics do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import refused, toy_backbone

from kesikaran.config.schema import FinetuneConfig, HeadConfig, Trains

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from kesikaran.models import backbone

    return backbone.load(str(toy_backbone(tmp_path_factory.mktemp("normed") / "backbone", norm=True)), 32)


@pytest.fixture
def network(net: Any) -> Any:
    from kesikaran.models.network import Network

    made = Network(net, HeadConfig([4], dropout=0.5, l2=0.1))
    made.start(made.head.get_weights())
    return made


def images(count: int = 6) -> np.ndarray:
    return np.random.default_rng(1).random((count, 32, 32, 3), np.float32)


def test_it_starts_as_the_frozen_backbone(net: Any, network: Any) -> None:
    features = network.features(images(), training=False)
    np.testing.assert_allclose(features, net.layer(images()), atol=1e-6)
    logits = network.head(features, training=False).numpy()[:, 0]
    np.testing.assert_allclose(network.predict(images()), logits, atol=1e-6)


def test_frozen_statistics_stay_and_scale_and_offset_get_gradients(network: Any) -> None:
    import tensorflow as tf

    before = [value.numpy() for value in network.statistics]
    features = {}
    for training in (False, True):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable for variable, _ in network.trained(FinetuneConfig(Trains.batchnorm))])
            features[training] = network.features(images(), training)
            loss = tf.reduce_sum(features[training] ** 2)
        of_norm = [v for v, _ in network.trained(FinetuneConfig(Trains.batchnorm))][:4]
        assert [v.name.split("/")[-1] for v in of_norm] == ["gamma:0", "beta:0"] * 2
        gradients = tape.gradient(loss, of_norm)
        assert all(gradient is not None and np.abs(gradient).max() > 0 for gradient in gradients)
        moved = [np.abs(now.numpy() - then).max() > 0 for now, then in zip(network.statistics, before, strict=True)]
        assert moved == [training] * 4
    assert not np.allclose(features[False], features[True])


def test_a_second_network_takes_the_one_trainable_copy_over_as_the_file_has_it(net: Any, network: Any) -> None:
    from kesikaran.models.network import Network

    for variable in network.layer.variables:
        variable.assign(variable + 1)
    second = Network(net, HeadConfig())
    assert second.layer is network.layer
    second.start(second.head.get_weights())
    np.testing.assert_allclose(second.features(images(), False), net.layer(images()), atol=1e-6)


def test_each_choice_trains_its_variables_and_the_head(network: Any) -> None:
    def names(**given: Any) -> list[tuple[str, int]]:
        found = network.trained(FinetuneConfig(**given))
        assert len(found[-4:]) == len(network.head.variables)
        assert [depth for _, depth in found[-4:]] == [0] * 4
        return [(variable.name.split(":")[0].split("/")[-1], depth) for variable, depth in found[:-4]]

    lower, upper = ([(name, depth) for name in ("kernel", "bias", "gamma", "beta")] for depth in (1, 0))
    assert names(trains=Trains.all) == [*lower, *upper]
    assert names(trains=Trains.last_blocks, blocks=1) == upper
    assert names(trains=Trains.last_blocks, blocks=2) == [*lower, *upper]
    assert names(trains=Trains.batchnorm) == [*lower[2:], *upper[2:]]


def test_more_blocks_than_there_are_is_one_line(network: Any) -> None:
    refused("the backbone has 2", network.trained, FinetuneConfig(Trains.last_blocks, blocks=3))


def variables(*names: str) -> list[Any]:
    return [SimpleNamespace(name=name, shape=(1,) if "gamma" in name else (3, 3)) for name in names]


def test_blocks_are_known_by_their_names() -> None:
    from kesikaran.models.network import chosen

    blocks = [f"blocks_{n}_{part}" for n in range(16) for part in ("conv/kernel:0", "bn/gamma:0")]
    lite = variables("conv_stem/kernel:0", "bn0/gamma:0", *blocks, "conv_head/kernel:0", "bn1/gamma:0")
    depths = [depth for _, depth in chosen(lite, FinetuneConfig(Trains.all))]
    assert depths == [depth for depth in range(17, -1, -1) for _ in range(2)]
    last = [variable.name for variable, _ in chosen(lite, FinetuneConfig(Trains.last_blocks, blocks=2))]
    assert last == [variable.name for variable in lite[-6:]]
    assert len(chosen(lite, FinetuneConfig(Trains.last_blocks, blocks=16))) == len(lite) - 2
    refused("the backbone has 16", chosen, lite, FinetuneConfig(Trains.last_blocks, blocks=17))


def test_layers_without_names_are_spread_over_eighteen() -> None:
    from kesikaran.models.network import chosen

    several = variables(*(name for n in range(54) for name in (f"a{n}/kernel:0", f"a{n}/gamma:0")))
    depths = [depth for _, depth in chosen(several, FinetuneConfig(Trains.all))]
    assert depths == [depth for depth in range(17, -1, -1) for _ in range(6)]


def test_a_frozen_module_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    from kesikaran.models import backbone, network

    class Plain(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(tf.ones((3, 5)))

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
        def __call__(self, x: Any) -> Any:
            return tf.reduce_mean(x, (1, 2)) @ self.weight

    tf.saved_model.save(Plain(), str(tmp_path / "plain"))
    net = backbone.load(str(tmp_path / "plain"), 32)
    refused("a frozen SavedModel: ", network.need_trainable, net, FinetuneConfig(Trains.all))


def test_what_the_backbone_does_not_have_is_refused(tmp_path: Path) -> None:
    from kesikaran.models import backbone, network

    net = backbone.load(str(toy_backbone(tmp_path / "plain")), 32)
    refused("no moving mean", network.need_trainable, net, FinetuneConfig(Trains.all, update_statistics=True))
    refused("no scale and offset", network.need_trainable, net, FinetuneConfig(Trains.batchnorm))


def test_the_precision_of_a_module_is_fixed(net: Any) -> None:
    from kesikaran.models import backbone, hub, network

    asked = FinetuneConfig(Trains.all, mixed_precision=True)
    refused("the precision of a SavedModel is fixed in its file", network.need_trainable, net, asked)
    network.need_trainable(backbone.load(hub.EMBEDDED, 32), asked)


def test_several_devices_do_not_update_the_statistics(net: Any) -> None:
    from kesikaran.models import network

    config, two = FinetuneConfig(Trains.all, update_statistics=True), SimpleNamespace(num_replicas_in_sync=2)
    says = "finetune.update_statistics=True is not allowed on 2 devices, of which each would see the mean and variance"
    refused(says, network.need_trainable, net, config, two)
    network.need_trainable(net, config)


def test_a_training_that_failed_leaves_the_next_one_its_quick_network() -> None:
    from kesikaran.models import backbone, hub, network

    asked, embedded = FinetuneConfig(Trains.all, mixed_precision=True), backbone.load(hub.EMBEDDED, 32)
    failed = network.Network(embedded, HeadConfig())
    failed.layer.variables[0].assign(np.full(failed.layer.variables[0].shape, np.nan))
    network.need_trainable(embedded, asked)
    after = network.Network(embedded, HeadConfig())
    after.start(after.head.get_weights())
    exact, mixed = (after.features(images(), training=False, mixed_precision=mixed).numpy() for mixed in (False, True))
    assert np.isfinite(exact).all()
    assert np.abs(exact - mixed).max() > 1e-4, "computed in bfloat16"
