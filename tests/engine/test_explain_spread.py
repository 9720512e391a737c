from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.explain.spread import hat_weights, patch_sums, slice_share, spread


@settings(max_examples=60, deadline=None)
@given(cells=st.integers(1, 40), pixels=st.integers(1, 90))
def test_no_cell_gains_or_loses_anything(cells: int, pixels: int) -> None:
    weights = hat_weights(cells, pixels)
    assert weights.shape == (pixels, cells)
    assert np.all(weights >= 0)
    assert np.allclose(weights.sum(axis=0), 1.0)


def test_two_cells_on_four_pixels_by_hand() -> None:
    """Centres of the pixels in cells: -0.25, 0.25, 0.75, 1.25; each hat is clipped at the ends and sums to 1."""
    expected = np.array([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]) / 2.0
    assert np.allclose(hat_weights(2, 4), expected)


def test_a_drawn_map_keeps_its_sum_its_sides_and_its_evenness() -> None:
    grid = np.zeros((2, 7, 7))
    grid[0] = 3.0
    grid[1, 1, 5] = -2.0
    drawn = spread(grid, (224, 224))
    assert drawn.shape == (2, 224, 224)
    assert drawn.dtype == np.float32
    assert drawn.sum(axis=(1, 2)) == pytest.approx([3.0 * 49, -2.0], rel=1e-5)
    assert drawn[0].std() < 1e-6
    row, column = np.unravel_index(np.argmin(drawn[1]), (224, 224))
    assert 32 <= row < 64
    assert 160 <= column < 192


def test_the_slices_of_a_volume_share_its_grid_out() -> None:
    grid = np.random.default_rng(1).normal(size=(4, 3, 5, 6))
    shares = [slice_share(grid, index, 9) for index in range(9)]
    assert shares[0].shape == (4, 5, 6)
    assert np.allclose(np.sum(shares, axis=0), grid.sum(axis=1))


def test_patch_sums_with_smaller_patches_at_the_far_edges() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(patch_sums(values, 2), [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9, 10 + 11]])
