"""Whole volumes for 3D networks: a fixed number of slices, air around the scan, and the volume's own range."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from engine.models.backbones import deepcntd, pillar0
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import AIR_HU, PreparedVolume, PreprocessSpec
from engine.preprocess.windows import HIGHEST_HU, to_channels, to_volume
from tests.support.heads import BLEED_HU, BLEED_LPS_MM, BRAIN_HU, acquire, apply, axial, pose, read_ge

POSE = pose(yaw_deg=6, roll_deg=-3, shift_mm=(4, -5, 6))
PILLAR = pillar0.SPEC.preprocessing
SHORT_AND_COARSE = PreprocessSpec(spacing_mm=(4.0, 2.0, 2.0), size_px=(112, 112), n_slices=60)


@pytest.fixture(scope="module")
def prepared() -> PreparedVolume:
    """A scan of 120 mm, for a network that reads 160."""
    return prepare(acquire(axial(n_slices=30), POSE), PILLAR)


def acquired_share(prepared: PreparedVolume) -> np.ndarray:
    return prepared.acquired_weights.sum(axis=1)


def test_a_network_of_volumes_gets_exactly_its_shape(prepared) -> None:
    volume = to_volume(prepared.voxels_hu, PILLAR)
    assert volume.shape == (11, *pillar0.SPEC.native_size) == (11, 128, 256, 256)
    assert volume.dtype == np.float32
    assert volume.flags.c_contiguous
    assert volume.min() == 0
    assert volume.max() == 1


def test_the_windows_are_those_of_the_published_network() -> None:
    hu = np.array([-1024, -600, -150, 0, 40, 60, 80, 150, 700, 3000], dtype=np.float32).reshape(1, 1, 10)
    volume = to_volume(hu, PILLAR)[:, 0, 0]
    expected = {
        # The lung window reaches below air, so air is not black in it.
        0: [326 / 1500, 750 / 1500, 1200 / 1500, 0.9, 0.92667, 0.94, 0.95333, 1, 1, 1],
        1: [0, 0, 0, 0.375, 0.475, 0.525, 0.575, 0.75, 1, 1],
        2: [0, 0, 0.025, 0.4, 0.5, 0.55, 0.6, 0.775, 1, 1],
        3: [0, 0, 0, 0, 35 / 150, 55 / 150, 75 / 150, 145 / 150, 1, 1],
        4: [0, 0, 350 / 1800, 500 / 1800, 0.3, 560 / 1800, 580 / 1800, 650 / 1800, 1200 / 1800, 1],
        5: [0, 0, 0, 0, 0.5, 0.75, 1, 1, 1, 1],
        6: [0, 0, 0, 32.5 / 215, 72.5 / 215, 92.5 / 215, 112.5 / 215, 182.5 / 215, 1, 1],
        7: [0, 0, 0, 0, 0.5, 1, 1, 1, 1, 1],
        8: [0, 200 / 2800, 650 / 2800, 800 / 2800, 0.3, 860 / 2800, 880 / 2800, 950 / 2800, 1500 / 2800, 1],
        9: [0, 0, 0, 125 / 350, 165 / 350, 185 / 350, 205 / 350, 275 / 350, 1, 1],
        10: (hu.ravel() + 1024) / 4024,
    }
    for channel, values in expected.items():
        assert np.allclose(volume[channel], values, atol=1e-5), channel
    assert len(volume) == len(expected)


def test_the_own_range_ends_with_the_scale_of_ct() -> None:
    spec = PreprocessSpec(windows_hu=((0.0, 80.0),), min_max=True)
    hu = np.array([-1000, 0, 1000, HIGHEST_HU, 20000], dtype=np.float32).reshape(1, 1, 5)
    assert np.allclose(to_volume(hu, spec)[1, 0, 0], [0, 1000 / 4071, 2000 / 4071, 1, 1], atol=1e-6)
    assert not to_volume(np.full((2, 3, 3), 40, np.float32), spec)[1].any()
    assert spec.n_channels == 2


def test_without_it_a_volume_is_the_slices_channels_in_another_order(prepared) -> None:
    spec = PreprocessSpec()
    some = prepared.voxels_hu[60:64, 100:140, 100:140]
    assert np.array_equal(to_volume(some, spec).swapaxes(0, 1), to_channels(some, spec.windows_hu))


def test_a_short_scan_lies_in_the_middle_of_air(prepared) -> None:
    share = acquired_share(prepared)
    held = np.flatnonzero(share)
    assert prepared.voxels_hu.shape == (128, 256, 256)
    assert prepared.warnings == ()
    assert np.all(np.isclose(share, 1, atol=1e-6) | (share == 0))
    assert np.array_equal(held, np.arange(held[0], held[-1] + 1))
    assert abs((held[0]) - (127 - held[-1])) <= 3
    assert 94 <= len(held) <= 100
    assert np.all(prepared.voxels_hu[share == 0] == AIR_HU)
    assert np.all((prepared.voxels_hu[held] > -300).any(axis=(1, 2))[4:-4])


def test_places_stay_true_in_the_fixed_grid(prepared) -> None:
    assert np.allclose(np.linalg.norm(prepared.lps_from_prepared_kji[:3, :3], axis=0), (1.25, 1, 1))
    for side, expected in ((1, BLEED_HU), (-1, BRAIN_HU)):
        lps_mm = apply(POSE, np.array([BLEED_LPS_MM]) * (side, 1, 1))
        k, j, i = np.rint(prepared.lps_to_prepared_kji(lps_mm)).astype(int)[0]
        assert prepared.voxels_hu[k, j, i] == pytest.approx(expected, abs=1)
        # Slices of the scan are 4 mm apart, the middle one at height 0.
        nearest = round(float(lps_mm[0, 2]) / 4 + 14.5)
        assert prepared.acquired_under(k)[0] in (nearest - 1, nearest, nearest + 1)
    centres = np.array([[k, 127.5, 127.5] for k in range(128)])
    aligned = apply(prepared.aligned_from_lps, prepared.prepared_kji_to_lps(centres))
    assert np.allclose(aligned[:, 2], prepared.position_mm, atol=1e-6)


def test_a_tall_scan_is_cut_below_the_head_and_says_so() -> None:
    spec = PreprocessSpec(spacing_mm=(1.25, 4.0, 4.0), size_px=(56, 56), n_slices=128)
    prepared = prepare(acquire(axial(n_slices=90)), spec)
    assert prepared.alignment.applied
    assert len(prepared.voxels_hu) == 128
    assert "mm of the scan lie outside the head's 128 slices and are left out" in prepared.warnings[0]
    # At least 8 mm above the vertex stay, whatever the spacing.
    assert 6 <= prepared.position_mm[-1] <= 10
    assert np.allclose(acquired_share(prepared), 1, atol=1e-6)


def test_a_scan_with_much_air_above_the_head_still_fills_the_volume() -> None:
    scan = acquire(axial(n_slices=80), pose(shift_mm=(0, 0, -90)))
    spec = SHORT_AND_COARSE.model_copy(update={"n_slices": 50})
    prepared = prepare(scan, spec)
    assert prepared.alignment.applied
    assert len(prepared.voxels_hu) == 50
    assert np.allclose(acquired_share(prepared), 1, atol=1e-6)
    assert prepared.acquired_under(0)[0] <= 1


@pytest.mark.parametrize("n_slices", [1, 7, 30, 31, 60])
@pytest.mark.parametrize("align", [True, False])
def test_every_scan_gives_exactly_that_many_slices(n_slices: int, align: bool) -> None:
    spec = SHORT_AND_COARSE.model_copy(update={"n_slices": n_slices, "align": align})
    scan = acquire(axial(n_slices=30, pixel_mm=4.0, size=64))
    prepared = prepare(scan, spec)
    n_held = len(prepare(scan, spec.model_copy(update={"n_slices": None})).voxels_hu)
    assert prepared.voxels_hu.shape == (n_slices, 112, 112)
    assert prepared.acquired_weights.shape == (n_slices, 30)
    assert len(prepared.position_mm) == n_slices
    assert np.count_nonzero(acquired_share(prepared)) >= min(n_slices, n_held)
    assert bool(prepared.warnings) == (n_slices < n_held)


def test_the_number_of_slices_takes_the_place_of_the_tallest_head() -> None:
    spec = SHORT_AND_COARSE.model_copy(update={"max_slices": 5})
    assert len(prepare(acquire(axial(n_slices=30, pixel_mm=4.0, size=64)), spec).voxels_hu) == 60


def test_a_real_tilted_scan_fills_the_stand_ins_volume(ge_tilt) -> None:
    prepared = prepare(read_ge(ge_tilt), deepcntd.SPEC.preprocessing)
    assert to_volume(prepared.voxels_hu, prepared.spec).shape == (3, *deepcntd.SPEC.native_size)
    assert prepared.alignment.applied
    plain = prepare(read_ge(ge_tilt), PreprocessSpec())
    share = acquired_share(prepared)
    first = (len(share) - len(plain.voxels_hu)) // 2
    kept = slice(first, first + len(plain.voxels_hu))
    assert np.array_equal(prepared.voxels_hu[kept], plain.voxels_hu)
    assert np.array_equal(prepared.acquired_weights[kept], plain.acquired_weights)


def test_specs_of_released_packages_mean_what_they_meant() -> None:
    released = {
        "version": 1,
        "spacing_mm": [4.0, 1.0, 1.0],
        "size_px": [224, 224],
        "windows_hu": [[0.0, 80.0], [-20.0, 180.0], [-800.0, 2000.0]],
        "align": True,
        "max_slices": 56,
    }
    spec = PreprocessSpec.model_validate(released)
    assert spec == PreprocessSpec()
    assert spec.n_slices is None
    assert not spec.min_max
    with pytest.raises(ValidationError):
        PreprocessSpec(n_slices=0)
