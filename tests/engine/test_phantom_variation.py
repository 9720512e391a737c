"""Heads and scanners that vary: drawn from the seed alone, within bounds, and seen in the voxels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from engine.dicom.read import read_series
from engine.dicom.scan import scan as scan_files
from engine.errors import ConfigError
from engine.phantom import scanner
from engine.phantom.anatomy import GRID_MM, Anatomy
from engine.phantom.background import head_rest, lay_on_rest
from engine.phantom.cohort import write_cohort, write_dicom
from engine.phantom.painters.registry import painters
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import draw_findings, generate, plan_head
from trainer.config import TrainConfig

VARIED = PhantomSpec(anatomy="varied", scanner="varied")
COARSE = PhantomSpec(matrix=96, pixel_spacing_mm=2.4, n_slices=16, slice_spacing_mm=10.0)


def _made(seed: int, **changes: object) -> np.ndarray:
    return generate(seed, COARSE.model_copy(update=changes), ()).volume.voxels.astype(int)


def test_scanners_are_drawn_from_the_seed_over_the_whole_range() -> None:
    drawn = [scanner.scan(seed, VARIED) for seed in range(300)]
    assert [scanner.scan(seed, VARIED) for seed in range(300)] == drawn
    assert {spec.slice_spacing_mm for spec in drawn} == set(scanner.SPACINGS_MM)
    assert {spec.vendor for spec in drawn} == set(scanner.VENDORS)
    assert all(130 < spec.n_slices * spec.slice_spacing_mm < 180 for spec in drawn)
    counts = Counter((spec.tilt_deg != 0, spec.motion_mm > 0, spec.sharpen > 0, spec.circle) for spec in drawn)
    for position in range(4):
        assert 0.03 < sum(n for key, n in counts.items() if key[position]) / 300 < 0.7
    assert scanner.scan(3, COARSE) is COARSE


def test_a_varied_study_is_the_same_again_and_knows_its_scanner() -> None:
    spec = VARIED.model_copy(update={"normal_fraction": 0.0})
    first, again = generate(7, spec), generate(7, spec)
    np.testing.assert_array_equal(first.volume.voxels, again.volume.voxels)
    assert first.spec == scanner.scan(7, spec)
    assert first.volume.voxels.shape == (first.spec.n_slices, first.spec.matrix, first.spec.matrix)
    assert first.volume.sop_instance_uids == again.volume.sop_instance_uids


def test_the_names_of_earlier_studies_stand() -> None:
    assert PhantomSpec(matrix=64, pixel_spacing_mm=0.5).identity() == (
        '{"matrix":64,"pixel_spacing_mm":0.5,"n_slices":32,"slice_spacing_mm":5.0,"noise_hu":null,"psf_mm":0.55,'
        '"tilt_deg":0.0,"normal_fraction":0.15}'
    )
    assert '"sharpen":1.0' in PhantomSpec(sharpen=1.0).identity()


def test_old_heads_have_what_age_brings() -> None:
    old, young = (Counter(key for seed in range(1500) for key in draw_findings(seed, 0.1, age)) for age in (1.0, 0.0))
    for key, painter in painters().items():
        if painter.older >= 0.6:
            assert old[key] > 1.8 * young[key]
        if painter.older == 0:
            assert old[key] == young[key]


def test_a_varied_head_has_more_in_it_and_mostly_lies_on_a_rest() -> None:
    varied = COARSE.model_copy(update={"anatomy": "varied"})
    heads = {seed: plan_head(seed, varied, ()) for seed in range(40)}
    resting = [seed for seed, head in heads.items() if head.rest_hu is not None]
    assert 25 < len(resting) < 40
    assert all(head.background for head in heads.values())
    assert plan_head(4, COARSE, ()).background == []


def test_what_a_normal_head_has_lies_inside_the_head() -> None:
    spec = PhantomSpec(matrix=128, pixel_spacing_mm=1.9, noise_hu=0.0, psf_mm=0.0, anatomy="varied")
    head = plan_head(59, spec, ())
    anatomy = Anatomy(head, spec.geometry(), spec.slice_spacing_mm)
    outside = anatomy.fields["skin"] > 6
    study = generate(59, spec, ()).volume.voxels
    steps = (spec.slice_spacing_mm, spec.pixel_spacing_mm, spec.pixel_spacing_mm)
    starts = (spec.slice_spacing_mm / 2, 0.0, 0.0)
    w, v, u = (
        (start + step * np.arange(size)) / GRID_MM for start, step, size in zip(starts, steps, study.shape, strict=True)
    )
    at = ndimage.map_coordinates(outside.astype(float), np.meshgrid(w, v, u, indexing="ij"), order=0) > 0
    front = at.copy()
    front[:, 64:] = False
    assert front.sum() > 50_000
    assert (study[front] == -1000).all(), "before the head, where no rest is, there is air alone"


def test_the_head_rest_is_a_shell_behind_and_beside_the_head() -> None:
    head = slice(30, 100), slice(34, 94)
    rest = head_rest((128, 128), head, 1.8)
    assert rest.max() == 1
    assert not rest[:65].any(), "nothing in front"
    assert not rest[30:99, 54:74].any(), "and nothing where the head is"
    assert (rest > 0.5).any(axis=0).sum() > 70, "as wide as the head and more"
    air, brain = (np.full((128, 128), hu, dtype=np.float32) for hu in (-1000.0, 30.0))
    lay_on_rest(air, rest, 100.0)
    lay_on_rest(brain, rest, 100.0)
    assert air.max() > 50
    assert (brain == 30).all(), "it does not lie in the head"


def test_sharp_kernels_lift_edges_and_hardening_darkens_the_middle() -> None:
    plain, sharp = _made(4, noise_hu=0.0), _made(4, noise_hu=0.0, sharpen=1.5)
    assert sharp[8].max() > plain[8].max() + 50
    hard = _made(4, noise_hu=0.0, beam_hardening=3.0)
    middle = (8, slice(44, 52), slice(44, 52))
    assert hard[middle].mean() < plain[middle].mean() - 0.5


def test_metal_sends_streaks_through_its_slices_only() -> None:
    spec = PhantomSpec(matrix=128, pixel_spacing_mm=1.8, noise_hu=0.0)
    clip, normal = (generate(5, spec, keys) for keys in ({"aneurysm_clip_or_coil"}, ()))
    change = np.abs(clip.volume.voxels.astype(int) - normal.volume.voxels)
    change[clip.masks["aneurysm_clip_or_coil"]] = 0
    per_slice = change.mean(axis=(1, 2))
    assert per_slice.max() > 3
    assert (per_slice < 0.05).mean() > 0.8


def test_motion_touches_a_few_slices() -> None:
    still, moved = _made(4, noise_hu=0.0), _made(4, noise_hu=0.0, motion_mm=6.0)
    touched = (still != moved).any(axis=(1, 2)).sum()
    assert 1 <= touched <= 4


def test_noise_of_any_grain_has_the_size_asked_for() -> None:
    for changes in ({"noise_grain_mm": 2.5}, {"noise_grain_mm": 3.0, "noise_low_cut": 0.6}):
        difference = _made(4, noise_hu=6.0, **changes) - _made(4, noise_hu=0.0)
        assert difference[:, :10, :10].std() > 3
        assert difference[8, 30:60, 30:60].std() == pytest.approx(6.0, rel=0.25)


def test_a_field_of_view_off_centre_shows_the_same_head_elsewhere() -> None:
    middle, moved = _made(4, noise_hu=0.0), _made(4, noise_hu=0.0, offset_mm=(24.0, 0.0))
    np.testing.assert_allclose(moved[8, 20:76, 10:76], middle[8, 20:76, 20:86], atol=2)


@pytest.mark.parametrize("vendor", scanner.VENDORS)
def test_headers_in_the_style_of_a_maker_read_back_voxel_for_voxel(vendor: str, tmp_path: Path) -> None:
    spec = COARSE.model_copy(update={"vendor": vendor, "circle": True, "padding_hu": -2000})
    study = generate(9, spec, ())
    write_dicom(study, tmp_path)
    dataset = pydicom.dcmread(tmp_path / "0003.dcm")
    assert dataset.Manufacturer.startswith("Synthetic")
    assert dataset.ConvolutionKernel != "SYNTHETIC"
    assert list(dataset.ImageType)[:2] == ["DERIVED", "PRIMARY"]
    assert dataset.PixelPaddingValue == -2000 - int(dataset.RescaleIntercept)
    volume = read_series(scan_files([tmp_path]).series[0])
    inside = study.volume.voxels > -2000
    assert 0.7 < inside.mean() < 0.85
    np.testing.assert_array_equal(volume.voxels[inside], study.volume.voxels[inside])


def test_a_cohort_with_masks_is_not_made_on_a_varied_scanner(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_cohort(tmp_path / "new", 1, 1, VARIED)
    assert caught.value.code == "phantom.cohort"


def test_the_training_specification_switches_the_variation_on(resources: Path) -> None:
    spec = TrainConfig.from_toml(resources / "training" / "phantom_demo.toml").cohort.spec
    assert (spec.anatomy, spec.scanner) == ("varied", "varied")
