"""The prepared grid: the right tissue at the right place, whatever the acquisition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from engine.errors import GeometryError, InferenceError
from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.prepare import prepare
from engine.preprocess.reduce import padding_as_air, reduce_volume
from engine.preprocess.spec import AIR_HU, PreparedVolume, PreprocessSpec
from engine.progress import Cancelled, CancelToken, NullContext
from tests.support.heads import (
    BLEED_HU,
    BLEED_LPS_MM,
    BRAIN_HU,
    acquire,
    all_lps,
    apply,
    axial,
    head_hu,
    pose,
    read_ge,
)

SPEC = PreprocessSpec()
POSE = pose(yaw_deg=6, roll_deg=-3, shift_mm=(4, -5, 6))


@pytest.fixture(scope="module")
def prepared() -> PreparedVolume:
    return prepare(acquire(axial(), POSE), SPEC)


@pytest.fixture(scope="module")
def real(ge_tilt) -> Volume:
    return read_ge(ge_tilt)


@pytest.fixture(scope="module")
def real_prepared(real) -> PreparedVolume:
    return prepare(real, SPEC)


def hu_at(prepared: PreparedVolume, lps_mm: np.ndarray) -> np.ndarray:
    k, j, i = np.rint(prepared.lps_to_prepared_kji(lps_mm)).astype(int).T
    return prepared.voxels_hu[k, j, i]


def test_the_grid_is_the_papers(prepared) -> None:
    assert prepared.voxels_hu.dtype == np.float32
    assert prepared.voxels_hu.shape[1:] == (224, 224)
    steps = np.linalg.norm(prepared.lps_from_prepared_kji[:3, :3], axis=0)
    assert np.allclose(steps, (4, 1, 1))
    assert np.allclose(np.diff(prepared.position_mm), 4)
    assert len(prepared.position_mm) == len(prepared.voxels_hu)


def test_columns_run_left_rows_back_slices_up(prepared) -> None:
    k, j, i = (prepared.lps_from_prepared_kji[:3, axis] for axis in range(3))
    assert i[0] > 0.9
    assert j[1] > 0.9
    assert k[2] > 3.6
    bleed = prepared.lps_to_prepared_kji(apply(POSE, np.array(BLEED_LPS_MM)))
    assert bleed[2] > 140
    assert bleed[1] > 125


def test_the_bleed_is_where_it_was_painted_and_not_in_the_mirror(prepared) -> None:
    left = apply(POSE, np.array([BLEED_LPS_MM]))
    right = apply(POSE, np.array([BLEED_LPS_MM]) * (-1, 1, 1))
    assert hu_at(prepared, left)[0] == pytest.approx(BLEED_HU, abs=1)
    assert hu_at(prepared, right)[0] == pytest.approx(BRAIN_HU, abs=1)


AXES = {
    "head first supine": ((1, 0, 0), (0, 1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "stacked downwards": ((1, 0, 0), (0, -1, 0)),
    "feet first": ((-1, 0, 0), (0, 1, 0)),
    "transposed": ((0, 1, 0), (1, 0, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}


def cube(axes: str) -> VolumeGeometry:
    """The same 68 × 68 × 68 points, 3 mm apart, stored in another order."""
    row, column = (np.array(axis, dtype=float) for axis in AXES[axes])
    heights = (np.arange(68) - 33.5) * 3.0
    origins = heights[:, None] * np.cross(row, column) - 33.5 * 3.0 * (row + column)
    return VolumeGeometry(row, column, (3.0, 3.0), origins, 68, 68)


@pytest.fixture(scope="module")
def supine() -> PreparedVolume:
    return prepare(acquire(cube("head first supine"), POSE), SPEC)


@pytest.mark.parametrize("axes", [name for name in AXES if name != "head first supine"])
def test_the_order_of_acquisition_does_not_show(supine, axes) -> None:
    other = prepare(acquire(cube(axes), POSE), SPEC)
    assert other.alignment.applied
    assert other.voxels_hu.shape == supine.voxels_hu.shape
    assert np.allclose(other.aligned_from_lps, supine.aligned_from_lps, atol=0.1)
    # Where slices are not axial, the averaging blocks fall otherwise, so edges differ; tissue does not.
    flat = (np.abs(np.gradient(supine.voxels_hu, axis=1)) < 2) & (np.abs(np.gradient(supine.voxels_hu, axis=2)) < 2)
    assert np.mean(np.abs(other.voxels_hu - supine.voxels_hu)[flat] < 5) > 0.97
    assert hu_at(other, apply(POSE, np.array([BLEED_LPS_MM])))[0] == pytest.approx(BLEED_HU, abs=1)


UNEVEN_MM = np.concatenate([np.full(11, 7.0), [1.081], np.full(28, 4.0)])


def uneven() -> VolumeGeometry:
    even = axial(n_slices=len(UNEVEN_MM) + 1, pixel_mm=2.0, size=112)
    heights = np.concatenate([[0.0], np.cumsum(UNEVEN_MM)]) - UNEVEN_MM.sum() / 2
    origins = even.origins_lps_mm.copy()
    origins[:, 2] = heights
    return replace(even, origins_lps_mm=origins)


@pytest.mark.parametrize(
    "geometry",
    [
        axial(2.0, 96, 2.0, 112, tilt_deg=20),
        axial(5.0, 40, 2.0, 112, tilt_deg=-14),
        uneven(),
        axial(1.0, 180, 2.0, 112),
    ],
    ids=["tilt up", "tilt down", "uneven", "thin"],
)
def test_every_voxel_holds_the_tissue_of_its_place_in_the_patient(geometry) -> None:
    prepared = prepare(acquire(geometry, POSE), SPEC)
    size = np.array(prepared.voxels_hu.shape)
    kji = np.stack(np.meshgrid(*(np.arange(0.0, n, 3) for n in size), indexing="ij"), axis=-1)
    head_mm = apply(np.linalg.inv(POSE), prepared.prepared_kji_to_lps(kji))
    truth = head_hu(head_mm)
    shifts = [np.array(s) * 4.0 for s in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]
    inner = np.all([head_hu(head_mm + shift) == truth for shift in shifts], axis=0)
    inner &= np.all((np.abs(head_mm) < (70, 90, 75)), axis=-1)
    found = prepared.voxels_hu[::3, ::3, ::3]
    assert inner.mean() > 0.05
    assert np.median(np.abs(found - truth)[inner]) < 0.5
    assert np.mean(np.abs(found - truth)[inner] < 20) > 0.97


def test_thin_slices_and_small_pixels_are_averaged_not_skipped() -> None:
    geometry = axial(1.0, 100, 0.5, 200)
    stripes = np.zeros(geometry.shape, dtype=np.int16)
    stripes[::2] = 100
    stripes[:, ::2] += 100
    volume = Volume(stripes, geometry, "HU", None, ("",) * 100)
    voxels_hu = prepare(volume, PreprocessSpec(align=False)).voxels_hu
    middle = voxels_hu[2:-2, 75:150, 75:150]
    assert np.abs(middle - 100).max() < 1


def test_between_thick_slices_it_is_linear() -> None:
    geometry = axial(8.0, 12, 1.0, 224)
    ramp = np.repeat(np.arange(12, dtype=np.int16) * 80, 224 * 224).reshape(geometry.shape)
    prepared = prepare(Volume(ramp, geometry, "HU", None, ("",) * 12), PreprocessSpec(align=False))
    centre = prepared.prepared_kji_to_lps(np.array([[k, 111.5, 111.5] for k in range(len(prepared.voxels_hu))]))
    expected = np.clip((centre[:, 2] + 44) / 8 * 80, 0, 880)
    assert np.allclose(prepared.voxels_hu[:, 111, 111], expected, atol=0.01)


def with_padding(volume: Volume, value: int, radius_mm: float = 105.0) -> Volume:
    points = all_lps(volume.require_geometry())
    outside = np.hypot(points[..., 0], points[..., 1]) > radius_mm
    return replace(volume, voxels=np.where(outside, value, volume.voxels).astype(np.int16), padding_value=float(value))


@pytest.fixture(scope="module")
def scan_in_a_circle() -> Volume:
    return acquire(axial(5.0, 40, 1.8, 128))


@pytest.fixture(scope="module")
def air_around(scan_in_a_circle) -> PreparedVolume:
    return prepare(with_padding(scan_in_a_circle, int(AIR_HU)), SPEC)


@pytest.mark.parametrize("value", [-1500, -2048, 0, 40])
def test_padding_is_air_and_reaches_no_mean(scan_in_a_circle, air_around, value) -> None:
    padded = prepare(with_padding(scan_in_a_circle, value), SPEC)
    assert np.array_equal(padded.voxels_hu, air_around.voxels_hu)
    assert padded.voxels_hu.min() >= AIR_HU


def test_tissue_of_the_padding_value_is_kept() -> None:
    plane = np.full((1, 40, 40), 30, dtype=np.int16)
    plane[0, :, :5] = 0
    plane[0, 20:25, 20:25] = 0
    clean = padding_as_air(plane, 0.0)
    assert np.all(clean[0, :, :5] == AIR_HU)
    assert np.all(clean[0, 20:25, 20:25] == 0)


def test_outside_the_field_of_view_is_air(prepared, real_prepared) -> None:
    small = prepare(acquire(axial(pixel_mm=1.6)), SPEC)
    assert np.all(small.voxels_hu[:, :2, :2] == AIR_HU)
    assert real_prepared.voxels_hu.min() >= AIR_HU


def test_reduced_blocks_are_means_at_their_own_centre(real) -> None:
    reduced = reduce_volume(real, 2.6, 1.0)
    geometry, source = reduced.require_geometry(), real.require_geometry()
    assert reduced.voxels.shape == (28, 256, 256)
    block = np.maximum(real.voxels[9, 200:202, 300:302].astype(float), AIR_HU)
    assert reduced.voxels[9, 100, 150] == pytest.approx(block.mean(), abs=1e-3)
    assert np.allclose(
        geometry.kji_to_lps(np.array([9.0, 100, 150])), source.kji_to_lps(np.array([9.0, 200.5, 300.5])), atol=1e-6
    )


def test_weights_say_which_acquired_slices_are_under_a_prepared_one(prepared) -> None:
    assert prepared.acquired_weights.dtype == np.float32
    assert prepared.acquired_weights.shape == (len(prepared.voxels_hu), 50)
    assert np.allclose(prepared.acquired_weights.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("acquired_slice", [0, 6, 13, 14, 20, 27])
def test_the_way_from_acquired_to_prepared_and_back(real, real_prepared, acquired_slice) -> None:
    centre = real.require_geometry().kji_to_lps(np.array([acquired_slice, 256.0, 256.0]))
    k = float(real_prepared.lps_to_prepared_kji(centre)[0])
    over = real_prepared.prepared_over(acquired_slice)
    assert over
    assert min(abs(k - index) for index in over) < 1
    assert all(acquired_slice in real_prepared.acquired_under(index) for index in over)


def test_every_thin_slice_is_under_some_prepared_one() -> None:
    prepared = prepare(acquire(axial(0.7, 250, 2.0, 112)), SPEC)
    assert all(prepared.prepared_over(index) for index in range(250))
    assert all(len(prepared.acquired_under(index)) >= 4 for index in range(1, len(prepared.voxels_hu) - 1))


def test_prepared_slices_hold_acquired_data_only(real_prepared) -> None:
    assert 30 <= len(real_prepared.voxels_hu) <= 45
    assert all((plane > -300).any() for plane in real_prepared.voxels_hu)


def test_what_lies_below_the_head_is_left_out_and_said() -> None:
    prepared = prepare(acquire(axial(n_slices=90)), SPEC)
    assert len(prepared.voxels_hu) == 56
    assert prepared.alignment.applied
    assert "left out" in prepared.warnings[0]
    assert prepared.position_mm[-1] == pytest.approx(6.0)


def test_a_single_slice_is_prepared_without_alignment() -> None:
    prepared = prepare(acquire(axial(n_slices=1)), SPEC)
    assert len(prepared.voxels_hu) == 1
    assert prepared.acquired_weights.tolist() == [[1.0]]
    assert not prepared.alignment.applied


def test_the_real_scan_lies_as_it_should(real_prepared) -> None:
    voxels = real_prepared.voxels_hu
    middle = voxels[len(voxels) // 2]
    skull, _ = ndimage.label(middle > 300)
    bone_rows, bone_columns = np.nonzero(skull == np.argmax(np.bincount(skull[skull > 0])))
    assert abs((bone_columns.min() + bone_columns.max()) / 2 - 111.5) < 8
    assert np.ptp(bone_rows) > np.ptp(bone_columns) > 120
    # The nasal cavity and the airway are in front of the spine, in the lower slices.
    low = voxels[3]
    air = (low < -500) & (np.hypot(*(np.indices(low.shape) - 111.5)) < 80)
    assert np.nonzero(air)[0].mean() < 100


def test_the_old_hypodensity_is_in_the_patients_left_and_posterior(real_prepared) -> None:
    """The data's own description names it, so a mirrored or upside-down result would fail here."""
    voxels = real_prepared.voxels_hu
    brain = np.where((voxels > 0) & (voxels < 60), voxels, np.nan)
    left, right = brain[13:18, 118:155, 133:155], brain[13:18, 118:155, 69:91]
    assert np.nanmean(left) < np.nanmean(right) - 3


def test_the_same_input_gives_the_same_bytes(real, real_prepared) -> None:
    again = prepare(real, SPEC)
    assert np.array_equal(again.voxels_hu, real_prepared.voxels_hu)
    assert np.array_equal(again.acquired_weights, real_prepared.acquired_weights)
    assert np.array_equal(again.aligned_from_lps, real_prepared.aligned_from_lps)


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(-50, 300)] * 3), min_size=1, max_size=4))
def test_prepared_indices_survive_the_way_to_millimetres_and_back(real_prepared, points) -> None:
    kji = np.array(points)
    assert np.allclose(real_prepared.lps_to_prepared_kji(real_prepared.prepared_kji_to_lps(kji)), kji, atol=1e-8)


def test_positions_are_heights_in_the_aligned_frame(real_prepared) -> None:
    centres = np.array([[k, 111.5, 111.5] for k in range(len(real_prepared.position_mm))])
    aligned = apply(real_prepared.aligned_from_lps, real_prepared.prepared_kji_to_lps(centres))
    assert np.allclose(aligned[:, :2], 0, atol=1e-6)
    assert np.allclose(aligned[:, 2], real_prepared.position_mm, atol=1e-6)


def test_what_is_not_in_hounsfield_units_is_refused() -> None:
    with pytest.raises(InferenceError) as caught:
        prepare(replace(acquire(axial(n_slices=12, size=32)), units="unknown"), SPEC)
    assert caught.value.code == "preprocess.not_hu"
    assert caught.value.kind == "scope"


def test_a_stack_without_a_place_is_refused() -> None:
    with pytest.raises(GeometryError) as caught:
        prepare(replace(acquire(axial(n_slices=12, size=32)), geometry=None), SPEC)
    assert caught.value.code == "geometry.none"


def test_positions_that_no_body_has_are_refused_before_a_grid_is_laid() -> None:
    scan = acquire(axial(n_slices=12, size=32))
    origins = scan.geometry.origins_lps_mm.copy()
    origins[-1, 2] = 1e7
    with pytest.raises(GeometryError) as caught:
        prepare(replace(scan, geometry=replace(scan.geometry, origins_lps_mm=origins)), SPEC)
    assert caught.value.code == "preprocess.extent"


def test_it_stops_when_asked() -> None:
    token = CancelToken()

    class Impatient(NullContext):
        def progress(self, done: int, total: int, text: str) -> None:
            token.cancel()

        def raise_if_cancelled(self) -> None:
            token.raise_if_cancelled()

    with pytest.raises(Cancelled):
        prepare(acquire(axial()), SPEC, Impatient())
