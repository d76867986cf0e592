"""The layers of a head, and its first weights."""

import numpy as np
import pytest

from kesikaran.config.schema import HeadConfig

pytestmark = pytest.mark.tensorflow


def test_what_the_head_is_made_of() -> None:
    from kesikaran.models.head import build_head

    kinds = [type(layer).__name__ for layer in build_head(5, HeadConfig([7, 3], dropout=0.4, l2=0.01), 0).layers]
    assert kinds == ["Dropout", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    head = build_head(5, HeadConfig([7, 3], dropout=0.4, l2=0.01), 0)
    assert [tuple(weight.shape) for weight in head.weights] == [(5, 7), (7,), (7, 3), (3,), (3, 1), (1,)]
    kernels = [weight.numpy() for weight in head.weights[::2]]
    assert float(sum(head.losses)) == pytest.approx(0.01 * sum(float((k**2).sum()) for k in kernels), rel=1e-5)
    assert {layer.rate for layer in head.layers if hasattr(layer, "rate")} == {0.4}
    linear = build_head(5, HeadConfig(), 0)
    assert [type(layer).__name__ for layer in linear.layers] == ["Dense"]
    assert linear.losses == []


def test_the_seed_decides_the_first_weights_and_no_two_layers_share_them() -> None:
    from kesikaran.models.head import build_head

    first, again, other = (build_head(4, HeadConfig([4, 4]), seed).get_weights() for seed in (0, 0, 1))
    for ours, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, same)
    assert (first[0] != other[0]).all()
    assert (first[0] != first[2]).all()
    assert not any(bias.any() for bias in first[1::2])


def test_the_first_weights_are_those_of_the_model() -> None:
    from kesikaran.models.head import build_head, first_weights

    for head in (HeadConfig(), HeadConfig([7, 3], dropout=0.4, l2=0.01)):
        model, weights = build_head(5, head, seed=4).get_weights(), first_weights(5, head, seed=4)
        assert [weight.dtype for weight in weights] == [np.float32] * len(model)
        for ours, of_model in zip(weights, model, strict=True):
            np.testing.assert_array_equal(ours, of_model)
