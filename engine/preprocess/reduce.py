"""Average down to near the target resolution before anything is interpolated, so that nothing aliases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.spec import AIR_HU, HEAD_THRESHOLD_HU, Voxels

Item = TypeVar("Item")

_ALMOST = 0.1
"""0.34 mm × 3 = 1.02 mm counts as reaching 1 mm."""


def reduce_volume(volume: Volume, slab_mm: float, pixel_mm: float) -> Volume:
    """Average neighbouring slices and pixels in whole blocks, with padding read as air.

    Slices are grouped while they span at most `slab_mm`; pixels are grouped by the whole factor that comes nearest
    to `pixel_mm` from below. A rest of less than one block at the last row or column is left out.

    Returns
    -------
    Volume
        float32, nothing below `AIR_HU`, with the geometry of the block centres.
    """
    geometry = volume.require_geometry()
    groups = _slice_groups(geometry, slab_mm)
    row_factor = _factor(geometry.pixel_spacing_mm[0], pixel_mm, geometry.rows)
    column_factor = _factor(geometry.pixel_spacing_mm[1], pixel_mm, geometry.columns)
    reduced = _reduced_geometry(geometry, groups, row_factor, column_factor)
    voxels = np.empty(reduced.shape, dtype=np.float32)

    def fill(target: int) -> None:
        block = padding_as_air(volume.voxels[groups[target]], volume.padding_value)
        voxels[target] = _block_mean(block, row_factor, column_factor, reduced.rows, reduced.columns)

    in_threads(fill, range(len(groups)))
    return Volume(voxels, reduced, volume.units, None, tuple("" for _ in groups))


def padding_as_air(block: Voxels, padding_value: float | None) -> Voxels:
    """Raise padding, and everything below air, to `AIR_HU`; ``[slice, row, column]`` in and out.

    A padding value that could be tissue counts only where it is connected with the edge of its slice.
    """
    clean: Voxels = np.maximum(block, np.asarray(AIR_HU, dtype=block.dtype))
    if padding_value is None or padding_value <= AIR_HU:
        return clean
    outside = block == padding_value
    if padding_value > HEAD_THRESHOLD_HU:
        outside = np.stack([_connected_with_edge(plane) for plane in outside])
    clean[outside] = AIR_HU
    return clean


def in_threads(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Run `work` on every item; numpy and scipy release the interpreter lock, results land in disjoint places."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(work, items):
            pass


def _connected_with_edge(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(plane)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.asarray(np.isin(labels, edge[edge > 0]), dtype=np.bool_)


def _factor(spacing_mm: float, target_mm: float, size: int) -> int:
    return min(max(1, int(target_mm / spacing_mm + _ALMOST)), size)


def _slice_groups(geometry: VolumeGeometry, slab_mm: float) -> list[slice]:
    """Split the slices into runs whose thickness, half a gap beyond both ends included, is at most `slab_mm`."""
    if geometry.n_slices == 1:
        return [slice(0, 1)]
    positions = geometry.positions_mm
    thickness = np.gradient(positions) if len(positions) > 2 else np.full(len(positions), np.diff(positions)[0])
    groups: list[slice] = []
    start, filled_mm = 0, 0.0
    for index, own_mm in enumerate(thickness):
        if index > start and filled_mm + own_mm > slab_mm * 1.001:
            groups.append(slice(start, index))
            start, filled_mm = index, 0.0
        filled_mm += float(own_mm)
    return [*groups, slice(start, len(positions))]


def _reduced_geometry(
    geometry: VolumeGeometry, groups: list[slice], row_factor: int, column_factor: int
) -> VolumeGeometry:
    row_mm, column_mm = geometry.pixel_spacing_mm
    shift = (
        geometry.column_cosine_lps * row_mm * (row_factor - 1) / 2
        + geometry.row_cosine_lps * column_mm * (column_factor - 1) / 2
    )
    return VolumeGeometry(
        row_cosine_lps=geometry.row_cosine_lps,
        column_cosine_lps=geometry.column_cosine_lps,
        pixel_spacing_mm=(row_mm * row_factor, column_mm * column_factor),
        origins_lps_mm=np.stack([geometry.origins_lps_mm[group].mean(axis=0) for group in groups]) + shift,
        rows=geometry.rows // row_factor,
        columns=geometry.columns // column_factor,
    )


def _block_mean(block: Voxels, row_factor: int, column_factor: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Mean over all slices and over row_factor × column_factor pixels: ``[N, R, C]`` to ``[rows, columns]``."""
    wide = np.int32 if block.dtype.kind == "i" else np.float32
    total = block[0].astype(wide)
    for plane in block[1:]:
        total += plane
    total = total[: rows * row_factor, : columns * column_factor]
    by_row = sum((total[offset::row_factor] for offset in range(1, row_factor)), start=total[::row_factor])
    by_block = sum((by_row[:, offset::column_factor] for offset in range(1, column_factor)), by_row[:, ::column_factor])
    scale = np.float32(1.0 / (len(block) * row_factor * column_factor))
    return np.asarray(by_block * scale, dtype=np.float32)
