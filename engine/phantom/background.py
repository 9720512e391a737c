"""What normal heads have beside the plain phantom's: sella and gland, vessels, plexus, sutures, lenses; a head rest.

Much of it is what readers and models confuse with findings: flowing blood with a clot, sutures with fractures, the
granulations of the vault with lytic lesions, a plexus with blood.
"""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Metal, rotation, stream
from engine.phantom.lattice import F32, Real
from engine.phantom.lesions import in_vault, nodules
from engine.phantom.shapes import Point, coverage, unit
from engine.phantom.tissue import Slab
from engine.phantom.vessels import Path, basilar, carotid_siphon, middle_cerebral, vertebral

SELLA_MM: Point = (0.0, -16.0, -29.0)


def vary(head: Head) -> None:
    """Let a head differ more: size, pose, asymmetry, and the normal structures of this module."""
    rng = stream(head.seed, "anatomy")
    head.scale = head.scale * rng.normal(1.0, 0.03, 3).clip(0.93, 1.07)
    head.rotation = rotation(rng.normal(0, (5, 4, 6)).clip(-14, 14)) @ head.rotation
    head.translation_mm = head.translation_mm + rng.uniform(-6, 6, 3)
    head.skew_mm += float(rng.normal(0, 1.5))
    # A real scan has a thinner vault with denser tables than the first phantoms: median 1030 HU, a hundredth over 1630.
    head.skull_mm *= float(rng.uniform(0.65, 1.0))
    head.table_hu *= float(rng.uniform(1.2, 1.5))
    head.diploe_hu *= float(rng.uniform(0.95, 1.25))
    head.scalp_mm *= float(rng.uniform(0.8, 1.5))
    head.ventricle *= float(np.clip(rng.normal(1.0, 0.07), 0.85, 1.15))
    blood_hu = float(np.clip(rng.normal(46, 4), 38, 56))
    head.blood_hu = blood_hu + 6
    head.background.append(lambda slab: _sella(slab, head))
    head.background.append(lambda slab: _vessels(slab, blood_hu))
    plexus_hu, plexus_mm = float(rng.uniform(36, 52)), float(rng.uniform(1.6, 3.4))
    head.background.append(lambda slab: _plexus(slab, plexus_hu, plexus_mm))
    suture_mm = float(rng.uniform(0.5, 1.3)) * (1.2 - 0.6 * head.age)
    coronal, lambdoid = float(rng.uniform(-30, -15)), float(rng.uniform(48, 60))
    head.background.append(lambda slab: _sutures(slab, suture_mm, coronal, lambdoid))
    pits = _pits(rng)
    head.background.append(lambda slab: _granulations(slab, pits))
    if rng.random() < 0.3:
        teeth = Metal((float(rng.choice((-22, 22))), -66.0, float(rng.uniform(-84, -76))), float(rng.uniform(40, 120)))
        head.metals.append(teeth)
    head.flags.add("fine muscle")
    head.rest_hu = float(rng.uniform(-150, 160)) if rng.random() < 0.85 else None


def _sella(slab: Slab, head: Head) -> None:
    """The pituitary in its fossa, and the lenses of the eyes."""
    if slab.z_range[0] > -15:
        return
    fossa = slab.blob(SELLA_MM, (7.0, 5.5, 5.0))
    shell = unit(slab.blob(SELLA_MM, (8.6, 7.1, 6.6)) - fossa) * coverage(slab.z + 26, 2.0)
    slab.blend(650.0, shell * coverage(1 - slab.depth, 1.5))
    slab.blend(47.0, fossa)
    for side in (-1.0, 1.0):
        lens = slab.blob((side * 31.0, -81.0, -27.0), (4.8, 2.0, 4.6))
        slab.blend(70.0, lens * coverage(slab.field("globe") + 0.5, 1.0))


def _vessels(slab: Slab, blood_hu: float) -> None:
    """The arteries of the base, a little denser than brain."""
    if slab.z_range[0] > -8:
        return
    paths: list[Path] = [basilar()]
    for side in (-1, 1):
        paths += [middle_cerebral(1 if side > 0 else -1), vertebral(1 if side > 0 else -1)]
        paths.append(carotid_siphon(1 if side > 0 else -1))
    for path in paths:
        slab.blend(blood_hu, coverage(slab.tube_mm(path, 2.0), 1.0) * slab.cavity)


def _plexus(slab: Slab, hu: float, radius_mm: float) -> None:
    if slab.misses((0, 30, 10), 10):
        return
    for side in (-1.0, 1.0):
        body = slab.blob((side * 22.0, 32.0, 10.0), (radius_mm, 2.4 * radius_mm, 2.0 * radius_mm), irregular_mm=0.6)
        slab.blend(hu, body * slab.ventricles)


def _sutures(slab: Slab, width_mm: float, coronal_mm: float, lambdoid_mm: float) -> None:
    """Coronal, sagittal and lambdoid sutures: thin wavy lines of fibrous tissue through both tables."""
    if slab.z_range[1] < 5 or width_mm < 0.3:
        return
    wave = 1.6 * slab.field("rough") + 1.0 * slab.field("cloud")
    coronal = slab.y - coronal_mm + 0.25 * (slab.z - 30) + wave
    lambdoid = slab.y - lambdoid_mm + 0.5 * (slab.z - 45) + 0.25 * np.abs(slab.x) + wave
    sagittal = np.where((slab.z > 35) & (slab.y > coronal_mm) & (slab.y < lambdoid_mm), slab.x + wave, 99.0)
    gap = np.minimum(np.minimum(np.abs(coronal), np.abs(lambdoid)), np.abs(sagittal))
    line = coverage(gap - 0.5 * width_mm, 0.8) * in_vault(slab, 2.0)
    slab.blend(180.0, 0.8 * line * coverage(5 - slab.z, 4.0))


def _pits(rng: np.random.Generator) -> list[tuple[Point, Point]]:
    """Draw granulations: small pits of the inner table beside the sagittal sinus and over the transverse ones."""
    pits: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(0, 4))):
        x, y = float(rng.uniform(-16, 16)), float(rng.uniform(-30, 40))
        radius = float(rng.uniform(1.5, 3.4))
        pits.append(((x, y, 71.0 - 0.006 * (y - 2) ** 2 - 0.008 * x * x), (radius, radius, 0.8 * radius)))
    return pits


def _granulations(slab: Slab, pits: list[tuple[Point, Point]]) -> None:
    if pits and slab.z_range[1] > 45:
        slab.blend(15.0, nodules(slab, pits) * unit(2 * slab.bone) * coverage(-slab.field("table") - 5, 1.0))


def head_rest(shape: tuple[int, int], window: tuple[slice, slice], spacing_mm: float) -> F32:
    """Return the coverage of a slice [row, column] by the shell of a head rest: a trough behind and beside the head."""
    rows, columns = window
    middle = (columns.start + columns.stop - 1) / 2
    half = (columns.stop - columns.start) / 2 + 12 / spacing_mm
    deep = (rows.stop - rows.start) / 2 + 7 / spacing_mm
    down = (np.arange(shape[0], dtype=np.float32) - np.float32((rows.start + rows.stop - 1) / 2))[:, None]
    along = (np.arange(shape[1], dtype=np.float32) - np.float32(middle))[None, :]
    ring = (np.hypot(along / np.float32(half), down / np.float32(deep)) - 1) * np.float32(half * spacing_mm)
    return np.asarray(coverage(np.abs(ring) - 1.3, 1.2) * (down > 0.1 * deep), dtype=np.float32)


def lay_on_rest(plane_hu: F32, rest: Real, hu: float) -> None:
    """Put the head rest under the head of one slice: only where there is air."""
    air = unit((-plane_hu - 500) / 400)
    plane_hu += (np.float32(hu) - plane_hu) * np.asarray(rest * air, dtype=np.float32)
