from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from engine.preprocess.spec import PreprocessSpec
from engine.preprocess.windows import to_channels

WINDOWS = PreprocessSpec().windows_hu


def test_the_papers_windows_scale_to_zero_and_one() -> None:
    hu = np.array([-1024, -20, 0, 40, 80, 180, 600, 2000, 3000], dtype=np.float32).reshape(1, 1, 9)
    channels = to_channels(hu, WINDOWS)
    assert channels.shape == (1, 3, 1, 9)
    assert channels.dtype == np.float32
    assert np.allclose(channels[0, 0, 0], [0, 0, 0, 0.5, 1, 1, 1, 1, 1])
    assert np.allclose(channels[0, 1, 0], [0, 0, 0.1, 0.3, 0.5, 1, 1, 1, 1], atol=1e-6)
    assert np.allclose(channels[0, 2, 0, [0, 6, 7, 8]], [0, 0.5, 1, 1])


@given(hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-4096, 32767, width=32)))
def test_channels_stay_between_zero_and_one_and_the_input_is_kept(hu) -> None:
    before = hu.copy()
    channels = to_channels(hu, WINDOWS)
    assert channels.min() >= 0
    assert channels.max() <= 1
    assert np.array_equal(hu, before)


def test_an_empty_window_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        to_channels(np.zeros((1, 1, 1), np.float32), [(80.0, 80.0)])


@pytest.mark.parametrize(
    "change",
    [
        {"windows_hu": ()},
        {"windows_hu": ((80.0, 0.0),)},
        {"spacing_mm": (0.0, 1.0, 1.0)},
        {"size_px": (0, 224)},
        {"max_slices": 0},
        {"windows": 3},
    ],
)
def test_a_spec_that_no_grid_can_have_is_refused(change) -> None:
    with pytest.raises(ValidationError):
        PreprocessSpec(**change)
