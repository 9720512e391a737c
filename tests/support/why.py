"""Reasons for tests of the Why panel: counterfactuals, a prepared grid over a volume, and maps with their measures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.viewmodels.explanation import EXPERTS, MapKey
from engine.analysis import Analysis, Counterfactual, PreparedGrid
from engine.explain.maps import Faithfulness, Score, SliceMap
from engine.geometry import VolumeGeometry

PEAK = (0.25, 0.7)
"""Where made maps push up most, as shares of rows and columns: not where a transposed map would have it."""


def grid_over(geometry: VolumeGeometry, n_prepared: int, shape_rc: tuple[int, int]) -> PreparedGrid:
    """Return a grid of 1 mm pixels along LPS, slices from the first acquired one to the last, about the same centre."""
    first, last = geometry.origins_lps_mm[0], geometry.origins_lps_mm[-1]
    middle = geometry.kji_to_lps(np.array([0.0, (geometry.rows - 1) / 2, (geometry.columns - 1) / 2]))
    affine = np.zeros((4, 4))
    affine[:3, 0] = (last - first) / max(n_prepared - 1, 1)
    affine[1, 1] = affine[0, 2] = affine[3, 3] = 1.0
    affine[:3, 3] = middle - np.array([(shape_rc[1] - 1) / 2, (shape_rc[0] - 1) / 2, 0.0])
    rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine)
    return PreparedGrid(rows, (n_prepared, *shape_rc))


def with_reasons(
    analysis: Analysis, geometry: VolumeGeometry, shape_rc: tuple[int, int] = (80, 48), seed: int = 1
) -> Analysis:
    """Return the analysis with counterfactual logits near its own, a pooled feature and a grid over the volume."""
    rng = np.random.default_rng(seed)
    n_findings, n_slices, n_paths = analysis.ledger.values.shape
    logits = analysis.ledger.logits[:, None]
    slices = logits - analysis.ledger.values.sum(axis=2) + rng.normal(0, 0.05, (n_findings, n_slices))
    experts = logits - analysis.ledger.values.sum(axis=1)[:, 1:] + rng.normal(0, 0.05, (n_findings, n_paths - 1))
    return replace(
        analysis,
        counterfactual=Counterfactual(slices.astype(np.float32), experts.astype(np.float32)),
        pooled_feature=rng.normal(size=16).astype(np.float32),
        prepared_grid=grid_over(geometry, n_slices, shape_rc),
    )


def blob(shape_rc: tuple[int, int], row: float, column: float, width: float, height: float = 1.0) -> np.ndarray:
    """Return a bump."""
    rows, columns = np.mgrid[: shape_rc[0], : shape_rc[1]]
    distance = ((rows - row * shape_rc[0]) / width) ** 2 + ((columns - column * shape_rc[1]) / width) ** 2
    return np.asarray(height * np.exp(-distance), dtype=np.float32)


def made_maps(key: MapKey, shape_rc: tuple[int, int] = (80, 48), n_experts: int = 6) -> tuple[SliceMap, ...]:
    """Return what the worker would answer: one map, or 1 + K; each with a bump up and a bump down."""
    width = shape_rc[1] / 8
    values = 1e-3 * (blob(shape_rc, *PEAK, width) - 0.6 * blob(shape_rc, 0.75, 0.3, width))
    note = "An approximation: the rest is stated."
    if key.method == EXPERTS:
        return tuple(
            SliceMap(
                key.finding_key, key.slice_index, "ledger", f"Ledger, path {path}", values * (path + 1), True, "", path
            )
            for path in range(1 + n_experts)
        )
    return (
        SliceMap(
            key.finding_key, key.slice_index, key.method, key.method.capitalize(), values, False, note,
            faithfulness=made_faithfulness(),
        ),
    )  # fmt: skip


def made_faithfulness() -> Faithfulness:
    """Return measures in which the map is better than chance and the ledger's better still."""
    fractions = np.linspace(0, 1, 11, dtype=np.float32)

    def score(infidelity: float, speed: float) -> Score:
        deletion = (1.4 - 2.4 * (1 - np.exp(-speed * fractions))).astype(np.float32)
        return Score(infidelity, deletion, float((deletion - deletion[0]).mean()))

    return Faithfulness(fractions, score(0.031, 6.0), score(0.022, 9.0), score(0.068, 1.5), 0.07)
