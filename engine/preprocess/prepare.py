"""From an acquired volume to the grid that the classifier reads (paper, section 3.1)."""

from __future__ import annotations

import numpy as np

from engine.errors import GeometryError, InferenceError
from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.align import Alignment, align, unaligned
from engine.preprocess.extent import corners_lps, require_bounded
from engine.preprocess.provenance import acquired_weights
from engine.preprocess.reduce import reduce_volume
from engine.preprocess.resample import holds_data, plane_points, resample
from engine.preprocess.spec import FloatArray, PreparedVolume, PreprocessSpec, inverse, transform_points
from engine.progress import NULL_CONTEXT, Context

_SLAB_SHARE = 0.65
"""Acquired slices are averaged to at most this share of a prepared slice; two such samples then fill it."""

_ABOVE_VERTEX, _ABOVE_VERTEX_MM = 2, 8.0
"""Prepared slices of air kept above the vertex where the stack must be cut: so many, and at least so thick in all."""

_COVERAGE_RADIUS_MM = 80.0
_COVERAGE_SHARE = 0.5
_STEPS = 4


def prepare(volume: Volume, spec: PreprocessSpec, context: Context = NULL_CONTEXT) -> PreparedVolume:
    """Shear out the tilt, align to a standard axial frame and resample, in a single interpolation.

    Parameters
    ----------
    volume
        In HU, with a place in the patient: any orientation, tilt and spacing.
    spec
        The grid; by default 224 × 224 pixels of 1 mm, slices of 4 mm.
    context
        Told of each of four steps, and asked between them whether to stop.

    Returns
    -------
    PreparedVolume
        The same input gives the same bytes. Where alignment cannot be trusted it says so, in its report and as a
        warning, and keeps the patient's LPS axes.

    Raises
    ------
    GeometryError
        If the images have no place in space, reach further than a body, or would fill no prepared slice.
    InferenceError
        If the values are not Hounsfield units.
    Cancelled
        If the context was cancelled.
    """
    geometry = volume.require_geometry()
    _require_hu(volume)
    require_bounded(geometry)
    slice_mm, row_mm, _ = spec.spacing_mm
    _step(context, 0, "Averaging fine detail")
    reduced = reduce_volume(volume, slice_mm * _SLAB_SHARE, row_mm)
    _step(context, 1, "Finding the head")
    alignment = align(reduced) if spec.align else unaligned(geometry, ("Alignment is switched off.",))
    _step(context, 2, "Resampling")
    lps_from_grid, n_slices, warnings = _grid(geometry, alignment, spec)
    shape = (n_slices, *spec.size_px)
    voxels_hu = resample(reduced, lps_from_grid, shape, _sub_slices(reduced, slice_mm), slice_mm)
    _step(context, 3, "Finding the acquired slices under each prepared one")
    weights = acquired_weights(geometry, lps_from_grid, voxels_hu, slice_mm)
    _step(context, 4, "Prepared")
    aligned_from_grid = alignment.aligned_from_lps @ lps_from_grid
    return PreparedVolume(
        voxels_hu=voxels_hu,
        spec=spec,
        aligned_from_lps=alignment.aligned_from_lps,
        lps_from_prepared_kji=lps_from_grid,
        alignment=alignment.report,
        position_mm=aligned_from_grid[2, 3] + slice_mm * np.arange(n_slices),
        acquired_weights=weights,
        warnings=(*_alignment_warnings(alignment, spec), *warnings),
    )


def _require_hu(volume: Volume) -> None:
    if volume.units != "HU":
        raise InferenceError(
            f"The {len(volume.voxels)} slices cannot be prepared: their values are not Hounsfield units.",
            hint="Load a CT series with a rescale to Hounsfield units; this one can only be viewed.",
            code="preprocess.not_hu",
            kind="scope",
        )


def _step(context: Context, done: int, text: str) -> None:
    context.raise_if_cancelled()
    context.progress(done, _STEPS, text)


def _sub_slices(reduced: Volume, slice_mm: float) -> tuple[float, ...]:
    """Two samples per prepared slice where slices are thinner than it; one, linear, between thick slices."""
    spacing_mm = reduced.require_geometry().normal_spacing_mm
    thin = len(spacing_mm) > 0 and float(np.median(spacing_mm)) <= slice_mm * 0.75
    return (-0.25, 0.25) if thin else (0.0,)


def _grid(
    geometry: VolumeGeometry, alignment: Alignment, spec: PreprocessSpec
) -> tuple[FloatArray, int, tuple[str, ...]]:
    """Place the grid: slices hang down from the vertex, or lie about the centre; those that hold data are kept."""
    slice_mm, row_mm, column_mm = spec.spacing_mm
    rows, columns = spec.size_px
    first_mm = slice_mm / 2 if alignment.report.applied else 0.0
    aligned_from_grid = np.zeros((4, 4))
    aligned_from_grid[2, 0], aligned_from_grid[1, 1], aligned_from_grid[0, 2] = slice_mm, row_mm, column_mm
    aligned_from_grid[:, 3] = (-(columns - 1) / 2 * column_mm, -(rows - 1) / 2 * row_mm, first_mm, 1.0)
    lps_from_grid = inverse(alignment.aligned_from_lps) @ aligned_from_grid
    covered = _covered_slices(geometry, alignment.aligned_from_lps, lps_from_grid, spec)
    kept, warnings = _cut(covered, alignment.report.applied, spec)
    lps_from_grid[:3, 3] += kept[0] * lps_from_grid[:3, 0]
    return lps_from_grid, len(kept), warnings


def _covered_slices(
    geometry: VolumeGeometry, aligned_from_lps: FloatArray, lps_from_grid: FloatArray, spec: PreprocessSpec
) -> range:
    """Grid slices of which at least half of the middle holds acquired data."""
    slice_mm = spec.spacing_mm[0]
    heights = transform_points(aligned_from_lps, corners_lps(geometry))[:, 2] / slice_mm
    step = 8
    centre = (np.array(spec.size_px) - 1) / 2
    rows, columns = np.meshgrid(*(np.arange(0, size, step) for size in spec.size_px), indexing="ij")
    radius = np.hypot((rows - centre[0]) * spec.spacing_mm[1], (columns - centre[1]) * spec.spacing_mm[2])
    middle = radius <= _COVERAGE_RADIUS_MM
    held = []
    for k in range(int(np.floor(heights.min())) - 2, int(np.ceil(heights.max())) + 2):
        inside = holds_data(geometry, plane_points(lps_from_grid, k, spec.size_px, step)[middle], slice_mm)
        if inside.mean() >= _COVERAGE_SHARE:
            held.append(k)
    if not held:
        raise GeometryError(
            f"No prepared slice would hold data: {geometry.n_slices} acquired slices lie beside the grid.",
            hint="Check the orientation and position of the series; only axial head CT can be prepared.",
            code="preprocess.no_overlap",
        )
    return range(held[0], held[-1] + 1)


def _cut(covered: range, applied: bool, spec: PreprocessSpec) -> tuple[range, tuple[str, ...]]:
    """Cut a stack that is too tall below the head; fill one that is too short up to a fixed number on both sides."""
    most = spec.n_slices or spec.max_slices
    if len(covered) <= most:
        missing = (spec.n_slices or len(covered)) - len(covered)
        return range(covered.start - missing // 2, covered.stop + missing - missing // 2), ()
    top = min(covered.stop, _above_vertex(spec)) if applied else covered.stop
    bottom = max(covered.start, top - most)
    kept = range(bottom, top if spec.n_slices is None else bottom + most)
    left_out_mm = (len(covered) - len(kept)) * spec.spacing_mm[0]
    return kept, (f"{left_out_mm:.0f} mm of the scan lie outside the head's {most} slices and are left out.",)


def _above_vertex(spec: PreprocessSpec) -> int:
    return max(_ABOVE_VERTEX, round(_ABOVE_VERTEX_MM / spec.spacing_mm[0]))


def _alignment_warnings(alignment: Alignment, spec: PreprocessSpec) -> tuple[str, ...]:
    if alignment.report.applied or not spec.align:
        return ()
    return tuple(f"Not aligned, the patient's axes are kept: {reason}" for reason in alignment.report.reasons)
