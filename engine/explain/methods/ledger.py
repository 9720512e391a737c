"""The ledger over image positions, all paths together or one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import InferenceError
from engine.explain.maps import SliceMapRequest
from engine.explain.methods.registry import Method, RawMap
from engine.explain.spatial import SpatialLedger, spatial_ledger
from engine.explain.spread import slice_share, spread
from engine.explain.subject import Subject
from engine.progress import Context

_EXACT = "Exact: with attention and gates as they were, the map sums to this slice's entry in the ledger."
_FIRST_ORDER = (
    "First order only: this backbone's feature is not a mean over positions, so gradient × activation stands in; "
    "the remainder is what it leaves out."
)


def compute(subject: Subject, request: SliceMapRequest, context: Context) -> RawMap:
    """Draw the spatial ledger of one finding on one slice; see `engine.explain.spatial`."""
    ledger = spatial_ledger(subject, request.finding_key, request.slice_index, context)
    paths = _chosen(ledger, request.expert)
    return RawMap(
        values=draw(subject, ledger.values[paths].sum(axis=0), request.slice_index),
        exact=ledger.exact,
        residual=float(ledger.residual[paths].sum()),
        note=_EXACT if ledger.exact else _FIRST_ORDER,
    )


def draw(subject: Subject, grid: NDArray[np.float64], slice_index: int) -> NDArray[np.float32]:
    """Draw amounts on the backbone's grid, (h, w) or (s, h, w), on a prepared slice (H, W)."""
    if subject.is_volume:
        grid = slice_share(grid, slice_index, len(subject.prepared.voxels_hu))
    return spread(grid, subject.size_px)


def _chosen(ledger: SpatialLedger, expert: int | None) -> slice:
    if expert is None:
        return slice(None)
    if not 0 <= expert < len(ledger.entries):
        raise InferenceError(
            f"The map cannot be made: the model has no expert {expert}.",
            hint=f"Choose 0 for the frozen path, or an expert from 1 to {len(ledger.entries) - 1}.",
            code="explain.expert",
        )
    return slice(expert, expert + 1)


METHOD = Method("ledger", compute)
