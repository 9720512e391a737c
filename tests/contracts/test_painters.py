"""The contract of every painter: a true, visible, well-placed lesion; then what only some of them promise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from engine.phantom.painters.registry import Painter, painters
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PAINTED_KEYS, PhantomStudy, generate

SPEC = PhantomSpec(matrix=192, pixel_spacing_mm=1.2)
SEED = 77
SMALL = {"petechial_hemorrhage", "hyperdense_vessel", "lacunar_infarct", "parenchymal_calcification", "foreign_body"}
SMALL |= {"pineal_choroid_calcification", "aneurysm_clip_or_coil"}
# What a mass, a swelling or a blockage does to its surroundings; and what else some findings are by definition.
CONSEQUENCES = {
    *("midline_shift", "subfalcine_herniation", "mass_effect", "sulcal_effacement", "cistern_effacement"),
    *("ventricular_enlargement", "vasogenic_edema"),
}
IMPLIED = {
    "hemorrhagic_transformation": {"acute_infarct", "loss_of_insular_ribbon"},
    "acute_infarct": {"loss_of_insular_ribbon"},
    "chronic_infarct": {"encephalomalacia"},
    "thalamic_hemorrhage": {"intraventricular_hemorrhage"},
    "cerebellar_hemorrhage": {"hydrocephalus"},
    "skull_base_fracture": {"pneumocephalus"},
    "mastoid_fracture": {"mastoid_effusion"},
    "ventricular_catheter": {"burr_hole"},
}
EXTRA_AXIAL = (
    *("acute_subdural_hematoma", "chronic_subdural_hematoma", "epidural_hematoma", "chronic_subdural_hygroma"),
    "sinus_intracranial_complication",
)
ONE_SIDED = (
    *("acute_subdural_hematoma", "chronic_subdural_hematoma", "epidural_hematoma", "chronic_subdural_hygroma"),
    *("basal_ganglia_hemorrhage", "lobar_hemorrhage", "thalamic_hemorrhage", "acute_infarct", "porencephaly"),
    *("craniectomy", "meningioma", "mastoid_fracture", "loss_of_insular_ribbon", "sinus_retention_cyst"),
)
MIDLINE = ("lipoma", "sellar_mass", "empty_sella", "cavum_septum_pellucidum", "brainstem_hemorrhage")
BELOW_TENTORIUM = ("cerebellar_hemorrhage", "cerebellar_atrophy", "mega_cisterna_magna", "tonsillar_herniation")

Mask = NDArray[np.bool_]


@cache
def made(*keys: str) -> PhantomStudy:
    return generate(SEED, SPEC, keys)


@pytest.fixture(params=PAINTED_KEYS)
def painter(request: pytest.FixtureRequest) -> Painter:
    return painters()[request.param]


def test_its_mask_holds_what_it_paints_where_something_else_was(painter: Painter) -> None:
    study, normal = made(painter.key), made()
    mask = study.masks[painter.key]
    painted = float(np.median(study.volume.voxels[mask]))
    replaced = float(np.median(normal.volume.voxels[mask]))
    assert painter.hu[0] <= painted <= painter.hu[1]
    assert painter.replaces_hu[0] <= replaced <= painter.replaces_hu[1]


def test_it_is_labelled_with_no_more_than_it_implies(painter: Painter) -> None:
    labels = made(painter.key).labels
    assert labels[painter.key] == 1
    others = {key for key, label in labels.items() if label} - {painter.key}
    assert others <= CONSEQUENCES | IMPLIED.get(painter.key, set())


def test_it_is_more_than_a_speck_and_less_than_the_head(painter: Painter) -> None:
    mask = made(painter.key).masks[painter.key]
    voxel_ml = SPEC.pixel_spacing_mm**2 * SPEC.slice_spacing_mm / 1000
    largest_ml = 1600 if painter.key == "cerebral_edema" else 700
    assert (0.04 if painter.key in SMALL else 0.15) < mask.sum() * voxel_ml < largest_ml


def test_the_picture_changes_where_the_mask_is(painter: Painter) -> None:
    study, normal = made(painter.key), made()
    change = np.abs(study.volume.voxels.astype(int) - normal.volume.voxels)
    mask = study.masks[painter.key]
    assert change[mask].mean() > 2
    far = ndimage.distance_transform_edt(~mask, (5.0, 1.2, 1.2)) > 40
    assert not far.any() or change[mask].mean() > 2.5 * change[far].mean()


def _bone(study: PhantomStudy) -> Mask:
    return np.asarray(study.volume.voxels > 350)


def _to_bone_mm(study: PhantomStudy) -> NDArray[np.float64]:
    return np.asarray(ndimage.distance_transform_edt(~_bone(study), (5.0, 1.2, 1.2)))


def _inside_vault(study: PhantomStudy) -> Mask:
    bone = _bone(study)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in bone]) & ~bone


@pytest.mark.parametrize("key", EXTRA_AXIAL)
def test_a_collection_lies_on_the_inner_table(key: str) -> None:
    mask = made(key).masks[key]
    gap_mm = _to_bone_mm(made())[mask]
    assert np.percentile(gap_mm, 5) < 2
    assert np.percentile(gap_mm, 95) < 26
    assert _inside_vault(made())[mask].mean() > 0.8


@pytest.mark.parametrize("key", ONE_SIDED)
def test_a_lesion_of_one_side_stays_on_its_side(key: str) -> None:
    geometry = made().volume.require_geometry()
    x_mm = geometry.kji_to_lps(np.argwhere(made(key).masks[key]).astype(float))[:, 0]
    assert max((x_mm > 0).mean(), (x_mm < 0).mean()) > 0.8
    assert min((x_mm > 12).mean(), (x_mm < -12).mean()) < 0.02


@pytest.mark.parametrize("key", ["basal_ganglia_hemorrhage", "lobar_hemorrhage", "intra_axial_tumor"])
def test_a_lesion_of_the_parenchyma_lies_deep(key: str) -> None:
    assert np.median(_to_bone_mm(made())[made(key).masks[key]]) > 12


def test_blood_in_the_ventricles_lies_in_ventricles() -> None:
    wide = made("ventricular_enlargement").masks["ventricular_enlargement"]
    assert wide[made("intraventricular_hemorrhage").masks["intraventricular_hemorrhage"]].mean() > 0.9


def test_blood_in_the_ventricles_settles_to_the_back() -> None:
    blood = made("intraventricular_hemorrhage", "ventricular_enlargement")
    ventricles, mask = blood.masks["ventricular_enlargement"], blood.masks["intraventricular_hemorrhage"]
    assert np.nonzero(mask)[1].mean() > np.nonzero(ventricles & ~mask)[1].mean()


def test_a_scalp_hematoma_lies_outside_the_skull_and_lifts_the_skin() -> None:
    study = made("scalp_hematoma")
    mask = study.masks["scalp_hematoma"]
    assert not (_inside_vault(made()) & mask).any()
    assert (made().volume.voxels[mask] < -300).any(), "part of it lies where there was air"


def test_a_fracture_and_a_craniectomy_lie_in_bone() -> None:
    for key in ("calvarial_fracture", "craniectomy"):
        assert (made().volume.voxels[made(key).masks[key]] > 300).mean() > 0.75


def test_air_inside_the_skull_rises_to_the_front() -> None:
    mask = made("pneumocephalus").masks["pneumocephalus"]
    inside = _inside_vault(made())
    assert inside[mask].mean() > 0.8
    assert np.nonzero(mask)[1].mean() < np.nonzero(inside)[1].mean() - 20


def test_fluid_in_a_sinus_has_a_level_below_air() -> None:
    study = made("sinusitis")
    mask = study.masks["sinusitis"]
    widest = int(mask.sum(axis=(1, 2)).argmax())
    rows = np.flatnonzero(mask[widest].any(axis=1))
    above = study.volume.voxels[widest, rows[0] - 4 : rows[0] - 1][:, mask[widest].any(axis=0)]
    assert (above < -700).mean() > 0.5


def test_an_acute_infarct_darkens_grey_matter_more_than_white() -> None:
    study, normal = made("acute_infarct"), made()
    mask = ndimage.binary_erosion(study.masks["acute_infarct"], iterations=1)
    before = ndimage.gaussian_filter(normal.volume.voxels.astype(float), (0, 1, 1))
    change = study.volume.voxels.astype(float) - normal.volume.voxels
    grey, white = (change[mask & part].mean() for part in (before > 34, (before > 22) & (before < 29)))
    assert grey < white < -2


def test_oedema_spares_the_cortex() -> None:
    study, normal = made("vasogenic_edema"), made()
    mask = study.masks["vasogenic_edema"]
    ring = ndimage.binary_closing(mask, iterations=3) & ~mask
    smooth = ndimage.gaussian_filter(normal.volume.voxels.astype(float), (0, 1, 1))
    assert np.median(smooth[mask]) < np.median(smooth[ring])


@pytest.mark.parametrize(
    ("pair", "holds"),
    [
        (("intra_axial_tumor", "lobar_hemorrhage"), "lobar_hemorrhage"),
        (("acute_infarct", "basal_ganglia_hemorrhage"), "basal_ganglia_hemorrhage"),
    ],
)
def test_a_voxel_belongs_to_what_was_painted_last(pair: tuple[str, str], holds: str) -> None:
    masks = made(*pair).masks
    other = next(key for key in pair if key != holds)
    assert (masks[holds] & masks[other]).sum() <= 0.05 * masks[holds].sum()


def test_hydrocephalus_is_wider_than_enlarged_ventricles_and_narrows_the_sulci() -> None:
    water: Callable[[PhantomStudy], int] = lambda study: int((study.volume.voxels[_rim(study)] < 18).sum())  # noqa: E731
    hydrocephalus = made("hydrocephalus")
    wide = made("ventricular_enlargement").masks["ventricular_enlargement"]
    assert hydrocephalus.masks["hydrocephalus"].sum() > wide.sum()
    assert water(hydrocephalus) < 0.75 * water(made()) < 0.75 * water(made("cerebral_atrophy"))


def _rim(study: PhantomStudy) -> Mask:
    """Return what lies inside the vault within 20 mm of bone, in the upper half of the head."""
    rim = _inside_vault(study) & (_to_bone_mm(study) < 20) & (_to_bone_mm(study) > 3)
    rim[: len(rim) // 2] = False
    return rim


@pytest.mark.slow
@pytest.mark.parametrize("seed", [303])
def test_the_contract_holds_for_another_seed(painter: Painter, seed: int) -> None:
    study, normal = generate(seed, SPEC, {painter.key}), _normal(seed)
    mask = study.masks[painter.key]
    assert painter.hu[0] <= float(np.median(study.volume.voxels[mask])) <= painter.hu[1]
    assert painter.replaces_hu[0] <= float(np.median(normal.volume.voxels[mask])) <= painter.replaces_hu[1]


@cache
def _normal(seed: int) -> PhantomStudy:
    return generate(seed, SPEC, ())
