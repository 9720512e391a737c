"""Synthetic volumes and analyses for tests of the window: small, seeded, and consistent where it matters.

The ledger sums to the logits, attention and gates are distributions, and the rows of `acquired_weights` sum to 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.analysis import Analysis, FindingResult, GeometrySummary, Ledger, ModelIdentity, SliceResult, Timings
from engine.findings.catalogue import Catalogue
from engine.geometry import Volume, VolumeGeometry

NOTICE = "Trained on synthetic phantoms, for demonstration only."
IDENTITY = ModelIdentity("phantom-demo", "3fa9c1d27be04466" * 4, NOTICE)
HELD_OUT = ("venous_sinus_thrombosis", "arachnoid_cyst")


def make_volume(
    shape: tuple[int, int, int] = (12, 40, 48),
    row_cosine: tuple[float, float, float] = (1.0, 0.0, 0.0),
    column_cosine: tuple[float, float, float] = (0.0, 1.0, 0.0),
    spacing_mm: tuple[float, float] = (2.0, 1.0),
    step_mm: float = 5.0,
    units: str = "HU",
    located: bool = True,
    seed: int = 0,
) -> Volume:
    """Return a volume whose every voxel differs from its neighbours, so that a wrong index shows."""
    voxels = np.random.default_rng(seed).integers(-1000, 1500, size=shape).astype(np.int16)
    row, column = np.array(row_cosine, dtype=float), np.array(column_cosine, dtype=float)
    origins = np.arange(shape[0])[:, None] * step_mm * np.cross(row, column)
    geometry = VolumeGeometry(row, column, spacing_mm, origins, shape[1], shape[2]) if located else None
    uids = tuple(f"1.2.3.{index}" for index in range(shape[0]))
    return Volume(voxels, geometry, units, None, uids)  # type: ignore[arg-type]


def make_head(shape: tuple[int, int, int] = (28, 256, 256)) -> Volume:
    """Return a drawn head: air, skull, brain with noise, ventricles and a dense lens; for pictures."""
    rng = np.random.default_rng(4)
    n, rows, columns = shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    voxels = np.full(shape, -1000, dtype=np.int16)
    for k in range(n):
        radius = 0.85 * np.sqrt(max(1 - ((k - n / 2.2) / (n / 1.7)) ** 2, 0.05))
        r = np.hypot(x / 0.82, y) / radius
        picture = np.where(r < 1, 35.0, -1000.0)
        picture[(r > 0.9) & (r < 1)] = 1100.0
        picture[(np.hypot((np.abs(x) - 0.1) / 0.07, y / 0.22) < radius) & (r < 0.8)] = 8.0
        if 10 < k < 18:
            picture[np.hypot((x - 0.3) / 0.14, (y + 0.05) / 0.11) < 1] = 68.0
        voxels[k] = np.clip(picture + np.where(r < 1, rng.normal(0, 4, picture.shape), 0), -1000, 3000)
    origins = np.arange(n)[:, None] * np.array([0.0, 0.0, 5.0])
    geometry = VolumeGeometry(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.9, 0.9), origins, rows, columns)
    return Volume(voxels, geometry, "HU", None, tuple(f"1.2.3.{k}" for k in range(n)))


def acquired_weights(n_prepared: int, n_acquired: int) -> np.ndarray:
    """Return float32 (S, S acquired): each prepared slice lies linearly between two acquired ones."""
    weights = np.zeros((n_prepared, n_acquired), dtype=np.float32)
    for prepared in range(n_prepared):
        place = prepared * (n_acquired - 1) / max(n_prepared - 1, 1)
        low = min(int(place), n_acquired - 1)
        weights[prepared, low] = 1 - (place - low)
        if place > low:
            weights[prepared, low + 1] = place - low
    return weights


def make_analysis(
    catalogue: Catalogue,
    n_acquired: int = 12,
    n_prepared: int = 15,
    n_experts: int = 6,
    covered: tuple[str, ...] | None = None,
    series_uid: str = "1.2.3",
    calibrated: bool = False,
    seed: int = 0,
) -> Analysis:
    """Return an analysis of every finding of the catalogue but two (or only of `covered`)."""
    rng = np.random.default_rng(seed)
    keys = covered if covered is not None else tuple(key for key in catalogue if key not in HELD_OUT)
    attention = rng.dirichlet(np.full(n_prepared, 0.6)).astype(np.float32)
    gates = rng.dirichlet(np.full(n_experts, 0.8), size=n_prepared).astype(np.float32)
    ledger = _ledger(rng, keys, attention, gates)
    probability = dict(zip(keys, 1 / (1 + np.exp(-ledger.logits.astype(np.float64))), strict=True))
    logits = dict(zip(keys, ledger.logits, strict=True))
    findings = tuple(_finding(catalogue, key, logits.get(key), probability.get(key), calibrated) for key in catalogue)
    slices = tuple(
        SliceResult(s, -60.0 + 4.0 * s, (f"1.2.3.{s}",), float(attention[s]), tuple(map(float, gates[s])))
        for s in range(n_prepared)
    )
    return Analysis(
        study_instance_uid="1.2",
        series_instance_uid=series_uid,
        geometry=GeometrySummary(n_acquired, 0.0, (5.0,) * (n_acquired - 1), 40, 48),
        model=IDENTITY,
        device="cpu",
        findings=findings,
        slices=slices,
        ledger=ledger,
        acquired_weights=acquired_weights(n_prepared, n_acquired),
        warnings=(),
        timings_s=Timings(0.1, 0.5, 1.0, 0.02, 1.62),
    )


def _ledger(rng: np.random.Generator, keys: tuple[str, ...], attention: np.ndarray, gates: np.ndarray) -> Ledger:
    shape = (len(keys), len(attention), 1 + gates.shape[1])
    values = rng.normal(0, 2.2, shape) * attention[None, :, None]
    values[:, :, 1:] *= gates[None]
    values = values.astype(np.float32)
    bias = rng.normal(-1.2, 0.5, len(keys)).astype(np.float32)
    return Ledger(keys, values, bias, (values.sum(axis=(1, 2)) + bias).astype(np.float32))


def _finding(
    catalogue: Catalogue, key: str, logit: float | None, probability: float | None, calibrated: bool
) -> FindingResult:
    finding = catalogue[key]
    if logit is None or probability is None:
        return FindingResult(key, finding.label, finding.category, False, None, None, None, None, None)
    point, shown = 0.4, float(probability)
    return FindingResult(
        key,
        finding.label,
        finding.category,
        True,
        float(logit),
        shown,
        shown if calibrated else None,
        point,
        shown >= point,
    )


def demo_folder(root: Path) -> Path:
    """Return the real scan that ships with the program."""
    return root / "resources" / "demo" / "head_ct_ge_tilt"
