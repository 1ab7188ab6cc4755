from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src.infra.providers.minilm_graph import quantise_columns, smoothing_factors

FLOATS = st.floats(-100, 100, width=32)


@given(arrays(np.float32, (6, 4), elements=FLOATS))
def test_quantised_weights_are_within_half_a_step_of_the_originals(weight: np.ndarray) -> None:
    whole, scale = quantise_columns(weight)
    assert whole.dtype == np.int8
    assert scale.shape == (4,)
    assert np.abs(whole.astype(int)).max(initial=0) <= 127
    assert (np.abs(whole * scale - weight) <= scale * 0.5001 + 1e-6).all()


def test_a_column_of_zeros_stays_zero() -> None:
    whole, scale = quantise_columns(np.zeros((3, 2), np.float32))
    assert not whole.any()
    assert (scale == 1).all()


def test_one_large_column_does_not_coarsen_the_others() -> None:
    weight = np.array([[0.01, 100.0], [0.02, 50.0]], np.float32)
    whole, scale = quantise_columns(weight)
    assert np.allclose(whole[:, 0] * scale[0], weight[:, 0], rtol=0.01)


@given(arrays(np.float32, 5, elements=st.floats(0.125, 8, width=32)), arrays(np.float32, (5, 3), elements=st.floats(0.125, 8, width=32)))
def test_smoothing_changes_no_product(norm_weight: np.ndarray, weight: np.ndarray) -> None:
    factors = smoothing_factors(norm_weight, np.zeros(5, np.float32), weight)
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    assert np.isfinite(factors).all()
    assert (factors > 0).all()
    assert np.allclose((x / factors) @ (weight * factors[:, None]), x @ weight, rtol=1e-3, atol=1e-4)
