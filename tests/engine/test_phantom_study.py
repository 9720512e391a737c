"""The phantom as a whole: it is a head, it is reproducible, and its labels are true."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from engine.errors import ConfigError
from engine.findings.catalogue import Catalogue
from engine.geometry import Volume
from engine.phantom import study as module
from engine.phantom.painters.registry import painters, register
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PAINTED_KEYS, PhantomStudy, generate, plan_head
from engine.progress import Cancelled, CancelToken
from tests.conftest import PROJECT_ROOT

SPEC = PhantomSpec(matrix=160, pixel_spacing_mm=1.4)
COARSE = PhantomSpec(matrix=96, pixel_spacing_mm=2.4, n_slices=16, slice_spacing_mm=10.0)


def digest(study: PhantomStudy) -> str:
    """Hash everything a study holds."""
    hashed = hashlib.sha256(study.volume.voxels.tobytes())
    for key, mask in study.masks.items():
        hashed.update(key.encode() + np.packbits(mask).tobytes())
    hashed.update(repr((study.labels, study.volume.sop_instance_uids)).encode())
    return hashed.hexdigest()


@pytest.fixture(scope="module")
def normal() -> PhantomStudy:
    return generate(11, SPEC, ())


@pytest.fixture(scope="module")
def wide() -> PhantomStudy:
    """The same head with wide ventricles."""
    return generate(11, SPEC, {"ventricular_enlargement"})


def test_every_tissue_has_its_hounsfield_units(normal: PhantomStudy, wide: PhantomStudy) -> None:
    voxels = normal.volume.voxels
    assert voxels.dtype == np.int16
    assert np.median(voxels[:, :8, :8]) == pytest.approx(-1000, abs=15)
    assert 900 < np.percentile(voxels[voxels > 300], 90) < 1700, "cortical bone"
    assert 300 < np.percentile(voxels[voxels > 250], 15) < 900, "diploe and partial volume"
    brain = _brain(voxels)
    assert 28 < np.median(voxels[brain]) < 40
    grey_to_white = np.percentile(ndimage.gaussian_filter(voxels.astype(float), (0, 1.5, 1.5))[brain], [10, 90])
    assert grey_to_white[1] - grey_to_white[0] > 5
    inside = ndimage.binary_erosion(wide.masks["ventricular_enlargement"], iterations=2)
    assert 3 < wide.volume.voxels[inside].mean() < 14, "water in the ventricles"


def _brain(voxels: np.ndarray) -> np.ndarray:
    """Return the inside of the vault, well away from the bone, above the base of the skull."""
    cavity = np.stack([ndimage.binary_fill_holes(plane > 300) & (plane < 200) for plane in voxels[14:24]])
    mask = np.zeros(voxels.shape, dtype=bool)
    mask[14:24] = np.stack([ndimage.binary_erosion(plane, iterations=5) for plane in cavity])
    return mask


def test_the_head_faces_up_and_its_crown_is_the_last_slice(normal: PhantomStudy) -> None:
    voxels, geometry = normal.volume.voxels, normal.volume.require_geometry()
    assert geometry.row_cosine_lps.tolist() == [1, 0, 0]
    assert geometry.column_cosine_lps.tolist() == [0, 1, 0]
    inside = np.stack([ndimage.binary_fill_holes(plane > -300) for plane in voxels[:8]])
    sinus_air = ndimage.binary_opening(inside & (voxels[:8] < -800), iterations=2)
    assert sinus_air.any()
    assert np.nonzero(sinus_air)[1].mean() < SPEC.matrix / 2, "the sinuses are in front, at small rows"
    area = (voxels > -300).sum(axis=(1, 2))
    assert area[-1] < 0.4 * area[len(area) // 2]


def test_noise_is_what_was_asked_for() -> None:
    quiet = generate(4, SPEC.model_copy(update={"noise_hu": 0.0}), ()).volume.voxels.astype(float)
    noisy = generate(4, SPEC.model_copy(update={"noise_hu": 5.0}), ()).volume.voxels
    difference = (noisy - quiet)[_brain(noisy)]
    assert difference.std() == pytest.approx(5.0, abs=0.4)
    assert difference.mean() == pytest.approx(0.0, abs=0.3)


def test_the_same_seed_gives_the_same_study_in_another_process() -> None:
    program = (
        "from tests.engine.test_phantom_study import COARSE, digest\n"
        "from engine.phantom.study import generate\nprint(digest(generate(5, COARSE)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert other.stdout.strip() == digest(generate(5, COARSE))


def test_another_seed_gives_another_head(normal: PhantomStudy) -> None:
    other = generate(12, SPEC, ())
    assert digest(other) != digest(normal)
    bone = [(study.volume.voxels > 300) for study in (normal, other)]
    assert (bone[0] ^ bone[1]).sum() > 0.2 * bone[0].sum(), "another pose and size, not only other noise"
    assert not set(other.volume.sop_instance_uids) & set(normal.volume.sop_instance_uids)


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = digest(generate(5, COARSE))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert digest(generate(5, COARSE)) == first


def test_the_slabs_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(7, COARSE)
    monkeypatch.setattr(module, "SLAB_VOXELS", 1)
    assert digest(generate(7, COARSE)) == digest(whole)


def test_a_painter_changes_only_its_own_lesion(normal: PhantomStudy) -> None:
    one = generate(11, SPEC, {"basal_ganglia_calcification"})
    two = generate(11, SPEC, {"basal_ganglia_calcification", "sinusitis"})
    np.testing.assert_array_equal(one.masks["basal_ganglia_calcification"], two.masks["basal_ganglia_calcification"])
    elsewhere = ~ndimage.binary_dilation(one.masks["basal_ganglia_calcification"], iterations=5)
    np.testing.assert_array_equal(one.volume.voxels[elsewhere], normal.volume.voxels[elsewhere])


def test_labels_cover_every_painted_key_and_agree_with_the_masks() -> None:
    study = generate(1189033389, COARSE)
    assert tuple(study.labels) == PAINTED_KEYS
    assert {key for key, label in study.labels.items() if label} == set(study.masks)
    assert 2 <= len(study.masks) < len(PAINTED_KEYS)
    for mask in study.masks.values():
        assert mask.dtype == np.bool_
        assert mask.shape == study.volume.voxels.shape
        assert mask.any()


def test_a_normal_head_has_no_findings(normal: PhantomStudy) -> None:
    assert normal.masks == {}
    assert not any(normal.labels.values())


def test_what_lies_outside_the_scan_is_not_labelled() -> None:
    vertex = generate(11, SPEC.model_copy(update={"n_slices": 8}), {"sinusitis", "basal_ganglia_calcification"})
    assert vertex.labels["sinusitis"] == 0
    assert vertex.labels["basal_ganglia_calcification"] == 1


def test_hydrocephalus_implies_enlarged_ventricles() -> None:
    study = generate(3, COARSE, {"hydrocephalus"})
    positive = {key for key, label in study.labels.items() if label}
    assert {"hydrocephalus", "ventricular_enlargement"} <= positive
    assert positive <= {"hydrocephalus", "ventricular_enlargement", "sulcal_effacement"}


def test_midline_shift_follows_from_the_mass_and_from_nothing_else() -> None:
    shifts = {}
    for seed in range(40):
        head = plan_head(seed, SPEC, {"acute_subdural_hematoma"})
        shifts[seed] = head.midline_shift_mm(), head.has("midline_shift")
    assert all(labelled == (shift > 5) for shift, labelled in shifts.values())
    assert 0 < sum(labelled for _, labelled in shifts.values()) < 40


def test_midline_shift_displaces_the_ventricles_to_one_side(wide: PhantomStudy) -> None:
    shifted = generate(11, SPEC, {"ventricular_enlargement", "midline_shift"})
    centres_mm = [
        ndimage.center_of_mass(study.masks["ventricular_enlargement"][14:22])[2] * SPEC.pixel_spacing_mm
        for study in (wide, shifted)
    ]
    expected = plan_head(11, SPEC, {"ventricular_enlargement", "midline_shift"}).midline_shift_mm()
    assert expected > 5
    assert 0.5 * expected < abs(centres_mm[1] - centres_mm[0]) < 1.2 * expected


def test_findings_are_drawn_often_enough_to_train_on_and_one_study_in_seven_is_normal() -> None:
    counts: Counter[str] = Counter()
    normal, n = 0, 1200
    for seed in range(n):
        keys = {layer.key for layer in plan_head(seed, SPEC, None).layers}
        counts.update(keys)
        normal += not keys
    # Consequences follow from many findings, so that they are far more frequent than a finding of its own.
    common = {"mass_effect", "sulcal_effacement"}
    assert {key: counts[key] / n for key in PAINTED_KEYS if not 0.03 < counts[key] / n < 0.2}.keys() <= common
    assert all(counts[key] / n < 0.55 for key in common)
    assert 0.11 < normal / n < 0.19


def test_every_finding_of_the_catalogue_has_a_painter(catalogue: Catalogue) -> None:
    assert set(PAINTED_KEYS) == set(catalogue)


def test_another_painter_changes_nobody_elses_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {key: painter for key, painter in painters().items() if key > "c"}
    drawn = [module.draw_findings(seed, 0.15) for seed in range(60)]
    monkeypatch.setattr(module, "painters", lambda: fewer)
    assert [module.draw_findings(seed, 0.15) for seed in range(60)] == [
        tuple(key for key in keys if key in fewer) for keys in drawn
    ]


def test_a_second_painter_for_a_key_is_refused() -> None:
    found = dict(painters())
    with pytest.raises(ConfigError) as caught:
        register(found, found["meningioma"], "meningioma")
    assert caught.value.code == "phantom.painter"
    with pytest.raises(ConfigError):
        register({}, found["meningioma"], "another_file")


@pytest.mark.parametrize(("seed", "findings"), [(-1, ()), (1, {"broken_leg"})])
def test_an_impossible_request_is_refused(seed: int, findings: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        generate(seed, COARSE, findings)
    assert caught.value.code == "phantom.request"
    assert "broken_leg" in caught.value.message or "-1" in caught.value.message


def test_it_can_be_cancelled() -> None:
    class Stop(CancelToken):
        def progress(self, done: int, total: int, text: str) -> None:
            self.cancel()

    with pytest.raises(Cancelled):
        generate(1, SPEC, (), Stop())


def test_a_tilted_gantry_shows_the_same_head() -> None:
    spec = PhantomSpec(matrix=128, pixel_spacing_mm=1.8, n_slices=60, slice_spacing_mm=2.5, noise_hu=0.0)
    straight = generate(9, spec, {"lobar_hemorrhage"})
    tilted = generate(9, spec.model_copy(update={"tilt_deg": 15.0}), {"lobar_hemorrhage"})
    assert tilted.volume.require_geometry().tilt_deg == pytest.approx(15.0, abs=1e-6)
    geometry = straight.volume.require_geometry()
    head = np.zeros(straight.volume.voxels.shape, dtype=bool)
    head[25:45, 30:98:2, 40:88:2] = True
    for region, agreement in ((head, 0.8), (straight.masks["lobar_hemorrhage"], 0.6)):
        kji = np.argwhere(region).astype(float)
        moved = tilted.volume.require_geometry().lps_to_kji(geometry.kji_to_lps(kji))
        expected, values = (np.clip(part, -100, 200) for part in (_at(straight.volume, kji), _at(tilted.volume, moved)))
        assert np.median(values) == pytest.approx(np.median(expected), abs=4.0)
        assert np.corrcoef(expected, values)[0, 1] > agreement


def _at(volume: Volume, kji: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(volume.voxels.astype(float), kji.T, order=1)


def test_one_slice_and_a_field_of_view_smaller_than_the_head_work() -> None:
    study = generate(2, PhantomSpec(matrix=64, pixel_spacing_mm=0.5, n_slices=1, slice_spacing_mm=1.0))
    assert study.volume.voxels.shape == (1, 64, 64)
    assert -20 < np.median(study.volume.voxels) < 80
