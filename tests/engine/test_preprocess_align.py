"""The standard frame is the head's own, however it lay in the scanner."""

from __future__ import annotations

import numpy as np
import pytest

from engine.geometry import Volume
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec
from tests.support.heads import acquire, all_lps, apply, axial, head_hu, moved, pose, read_ge

SPEC = PreprocessSpec()

MOTIONS = [
    pytest.param({"yaw_deg": 14, "shift_mm": (7, -11, 30)}, id="yaw"),
    pytest.param({"roll_deg": -9, "pitch_deg": 6, "shift_mm": (-20, 4, 0)}, id="roll and pitch"),
    pytest.param({"yaw_deg": -18, "roll_deg": 7, "pitch_deg": -10, "shift_mm": (3, 3, -90)}, id="all three"),
]


@pytest.fixture(scope="module")
def real(ge_tilt) -> Volume:
    return read_ge(ge_tilt)


@pytest.fixture(scope="module")
def real_prepared(real: Volume) -> PreparedVolume:
    return prepare(real, SPEC)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Angle of the rotation that takes one frame to the other."""
    return float(np.degrees(np.arccos(np.clip((np.trace(a[:3, :3] @ b[:3, :3].T) - 1) / 2, -1, 1))))


def midline_error_deg(prepared: PreparedVolume, lps_from_head: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(prepared.aligned_from_lps[0, :3] @ lps_from_head[:3, 0], -1, 1))))


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_real_head_moved_rigidly_lands_in_the_same_frame(real, real_prepared, motion) -> None:
    matrix = pose(**motion)
    again = prepare(moved(real, matrix), SPEC)
    assert again.alignment.applied
    assert angle_deg(again.aligned_from_lps @ matrix, real_prepared.aligned_from_lps) < 2
    centre = np.linalg.inv(real_prepared.aligned_from_lps)[:3, 3]
    landed = apply(again.aligned_from_lps, apply(matrix, centre))
    assert np.linalg.norm(landed) < 3


def test_the_frame_of_the_real_scan_is_reported(real_prepared) -> None:
    report = real_prepared.alignment
    assert report.applied
    assert report.reasons == ()
    assert real_prepared.warnings == ()
    assert report.midline_score > 0.85
    assert report.pitch_from == "acquired slices"
    assert report.rotation_deg[0] == pytest.approx(18.5, abs=1.5)
    assert np.allclose(real_prepared.aligned_from_lps[:3, 3], report.translation_mm)


@pytest.mark.parametrize(
    "motion",
    [{}, {"yaw_deg": 12, "roll_deg": -7, "shift_mm": (6, -9, 5)}, {"yaw_deg": -25, "roll_deg": 10}, {"yaw_deg": 30}],
    ids=str,
)
@pytest.mark.parametrize(
    "geometry", [axial(), axial(5.0, 42, 1.1, 224), axial(2.0, 100, 1.0, 224)], ids=["4", "5", "2"]
)
def test_a_head_scanned_askew_is_found_in_the_voxels(geometry, motion) -> None:
    lps_from_head = pose(**motion)
    prepared = prepare(acquire(geometry, lps_from_head), SPEC)
    assert prepared.alignment.applied
    assert midline_error_deg(prepared, lps_from_head) < 1
    origin = apply(np.linalg.inv(lps_from_head), np.linalg.inv(prepared.aligned_from_lps)[:3, 3])
    assert abs(origin[0]) < 1
    assert abs(origin[1]) < 2
    assert abs(origin[2] - 92) < 5


def test_a_table_beside_the_head_does_not_move_it() -> None:
    geometry, lps_from_head = axial(), pose(yaw_deg=8)
    alone = acquire(geometry, lps_from_head)
    points = all_lps(geometry)
    table = (np.abs(points[..., 1] - 108 - 0.1 * points[..., 0]) < 3) & (np.abs(points[..., 0]) < 110)
    voxels = np.where(table & (alone.voxels < -500), 150, alone.voxels).astype(np.int16)
    on_table = Volume(voxels, geometry, "HU", None, alone.sop_instance_uids)
    first, second = prepare(alone, SPEC), prepare(on_table, SPEC)
    assert second.alignment.applied
    assert angle_deg(first.aligned_from_lps, second.aligned_from_lps) < 0.5
    shift = second.aligned_from_lps @ np.linalg.inv(first.aligned_from_lps)
    assert np.linalg.norm(shift[:3, 3]) < 2


def test_a_large_one_sided_lesion_does_not_turn_the_midline() -> None:
    geometry = axial()
    healthy = acquire(geometry)
    points = all_lps(geometry)
    lesion = (np.linalg.norm(points - np.array([-30, 30, 20]), axis=-1) < 32) & (healthy.voxels < 100)
    voxels = np.where(lesion & (healthy.voxels > 0), 80, healthy.voxels).astype(np.int16)
    prepared = prepare(Volume(voxels, geometry, "HU", None, healthy.sop_instance_uids), SPEC)
    assert prepared.alignment.applied
    assert midline_error_deg(prepared, np.eye(4)) < 1.5
    assert abs(np.linalg.inv(prepared.aligned_from_lps)[0, 3]) < 2


def noise(geometry) -> np.ndarray:
    return np.random.default_rng(3).normal(-1000, 40, geometry.shape)


def lopsided(geometry) -> np.ndarray:
    """Rods of bone in a block of soft tissue: as large as a head, and alike on no two sides."""
    points = all_lps(geometry)
    block = np.all(np.abs(points) < (85, 90, 80), axis=-1)
    rods = ((-55, 50, 30), (35, -60, 25), (60, 40, 12), (-20, -10, 14))
    bone = np.any([np.hypot(points[..., 0] - x, points[..., 1] - y) < r for x, y, r in rods], axis=0)
    return np.where(bone & block, 900, np.where(block & (points[..., 0] + points[..., 2] < 60), 20, -1000))


@pytest.mark.parametrize(
    ("voxels", "geometry", "reason"),
    [
        pytest.param(noise, axial(), "No head was found", id="air"),
        pytest.param(lambda g: head_hu(all_lps(g) * 3.0), axial(), "No head was found", id="too small"),
        pytest.param(lambda g: head_hu(all_lps(g)), axial(n_slices=6), "were scanned", id="too few slices"),
        pytest.param(lopsided, axial(), "mid-sagittal plane is not certain", id="not symmetric"),
    ],
)
def test_what_cannot_be_aligned_says_so_and_keeps_the_patients_axes(voxels, geometry, reason) -> None:
    volume = Volume(voxels(geometry).astype(np.int16), geometry, "HU", None, ("",) * geometry.n_slices)
    prepared = prepare(volume, SPEC)
    report = prepared.alignment
    assert not report.applied
    assert reason in report.reasons[0]
    assert any(reason in warning for warning in prepared.warnings)
    assert report.rotation_deg == (0, 0, 0)
    middle = geometry.kji_to_lps((np.array(geometry.shape) - 1) / 2)
    assert np.allclose(apply(prepared.aligned_from_lps, middle), 0, atol=1e-9)


def test_alignment_can_be_switched_off() -> None:
    prepared = prepare(acquire(axial(), pose(yaw_deg=10)), PreprocessSpec(align=False))
    assert not prepared.alignment.applied
    assert np.array_equal(prepared.aligned_from_lps[:3, :3], np.eye(3))
    assert prepared.alignment.reasons == ("Alignment is switched off.",)
    assert prepared.warnings == ()


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_transform_is_rigid_and_invertible(motion) -> None:
    prepared = prepare(acquire(axial(), pose(**motion)), SPEC)
    rotation = prepared.aligned_from_lps[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert np.allclose(prepared.aligned_from_lps[3], [0, 0, 0, 1])
