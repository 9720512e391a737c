from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.errors import GeometryError
from engine.geometry import Volume, VolumeGeometry
from tests.support.heads import axial, read_ge

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])


@st.composite
def geometries(draw: st.DrawFn) -> VolumeGeometry:
    """Any orientation, tilt, spacing and stacking that a scanner could write."""
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    steps = draw(st.lists(st.floats(0.3, 9.0), min_size=1, max_size=12))
    shear = np.tan(np.radians(draw(st.floats(-28, 28))))
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    normal = np.cross(axes[0], axes[1])
    corner = np.array(draw(st.tuples(*[st.floats(-400, 400)] * 3)))
    origins = corner + heights[:, None] * (normal + shear * axes[1])
    spacing = draw(st.tuples(st.floats(0.2, 2.0), st.floats(0.2, 2.0)))
    return VolumeGeometry(axes[0], axes[1], spacing, origins, 17, 23)


@given(geometries(), st.lists(st.tuples(*[st.floats(-3, 30)] * 3), min_size=1, max_size=5))
def test_indices_survive_the_way_to_millimetres_and_back(geometry: VolumeGeometry, points: list) -> None:
    kji = np.array(points)
    assert np.allclose(geometry.lps_to_kji(geometry.kji_to_lps(kji)), kji, atol=1e-6)


@given(geometries())
def test_whole_slice_indices_lie_at_their_own_image_position(geometry: VolumeGeometry) -> None:
    kji = np.zeros((geometry.n_slices, 3))
    kji[:, 0] = np.arange(geometry.n_slices)
    assert np.allclose(geometry.kji_to_lps(kji), geometry.origins_lps_mm, atol=1e-9)


def test_pixel_spacing_is_rows_first() -> None:
    geometry = VolumeGeometry(ROW, COLUMN, (0.5, 2.0), np.array([[10.0, 20, 30]]), 4, 4)
    assert geometry.kji_to_lps(np.array([0.0, 1, 0])).tolist() == [10, 20.5, 30]
    assert geometry.kji_to_lps(np.array([0.0, 0, 1])).tolist() == [12, 20, 30]


def test_the_real_scan_keeps_its_tilt_and_its_two_zones(ge_tilt) -> None:
    geometry = read_ge(ge_tilt).require_geometry()
    assert geometry.tilt_deg == pytest.approx(18.5, abs=0.01)
    spacing = geometry.normal_spacing_mm
    assert np.allclose(spacing[:13], 4.0, atol=0.005)
    assert spacing[13] == pytest.approx(1.081, abs=0.005)
    assert np.allclose(spacing[14:], 7.0, atol=0.005)


def test_tilt_is_measured_from_positions() -> None:
    assert axial(tilt_deg=15.0).tilt_deg == pytest.approx(15.0)
    assert axial().tilt_deg == pytest.approx(0.0)
    assert axial(n_slices=1).tilt_deg == 0.0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"row_cosine_lps": np.array([1.0, 0.1, 0])}, "geometry.orientation"),
        ({"pixel_spacing_mm": (0.5, 0.0)}, "geometry.pixel_spacing"),
        ({"pixel_spacing_mm": (float("nan"), 0.5)}, "geometry.pixel_spacing"),
        ({"rows": 0}, "geometry.empty"),
        ({"origins_lps_mm": np.zeros((0, 3))}, "geometry.positions"),
        ({"origins_lps_mm": np.array([[0.0, 0, 0], [0, 0, 0]])}, "geometry.positions"),
        ({"origins_lps_mm": np.array([[0.0, 0, 5], [0, 0, 0]])}, "geometry.positions"),
        ({"origins_lps_mm": np.array([[0.0, 0, np.inf]])}, "geometry.positions"),
    ],
)
def test_what_is_no_geometry_is_refused(change: dict, code: str) -> None:
    parts = {
        "row_cosine_lps": ROW,
        "column_cosine_lps": COLUMN,
        "pixel_spacing_mm": (1.0, 1.0),
        "origins_lps_mm": np.array([[0.0, 0, 0], [0, 0, 5]]),
        "rows": 4,
        "columns": 4,
    }
    with pytest.raises(GeometryError) as caught:
        VolumeGeometry(**{**parts, **change})
    assert caught.value.code == code


def test_a_volume_must_fit_its_geometry_and_name_its_slices() -> None:
    geometry = axial(n_slices=2, size=4)
    with pytest.raises(GeometryError, match="do not fit"):
        Volume(np.zeros((3, 4, 4), np.int16), geometry, "HU", None, ("",) * 3)
    with pytest.raises(GeometryError, match="one SOP Instance UID"):
        Volume(np.zeros((2, 4, 4), np.int16), geometry, "HU", None, ("",))
    with pytest.raises(GeometryError, match="no position"):
        Volume(np.zeros((2, 4, 4), np.int16), None, "HU", None, ("", "")).require_geometry()
