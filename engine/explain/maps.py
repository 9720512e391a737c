"""Maps over a prepared slice, and what is known about how far they can be trusted. No torch: the window reads this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MethodKey = Literal["ledger", "integrated_gradients", "occlusion", "gradcam"]


@dataclass(frozen=True)
class MethodInfo:
    """How a method is called, and in one sentence what its map says. `heavy` ones run the backbone many times."""

    key: MethodKey
    label: str
    meaning: str
    heavy: bool


METHODS: dict[MethodKey, MethodInfo] = {
    info.key: info
    for info in (
        MethodInfo(
            "ledger",
            "Ledger",
            "Where this slice's entry in the ledger comes from; the map sums to the entry.",
            False,
        ),
        MethodInfo(
            "integrated_gradients",
            "Integrated gradients",
            "How much each pixel changed the logit on the way from a head of plain brain to this slice.",
            True,
        ),
        MethodInfo(
            "occlusion",
            "Occlusion",
            "How much the logit falls when a patch is replaced by plain brain.",
            True,
        ),
        MethodInfo(
            "gradcam",
            "Grad-CAM",
            "Where features that raise the logit are active; coarse, and without a unit.",
            False,
        ),
    )
}


@dataclass(frozen=True)
class SliceMapRequest:
    """Which map is wanted.

    Attributes
    ----------
    finding_key
        One of the model's findings.
    slice_index
        Prepared slice.
    method
        A key of `METHODS`.
    expert
        Only for the ledger: None for all paths together, 0 for the frozen path, k for expert k.
    faithfulness
        Whether to measure it too; takes some fifty more runs of the backbone on this slice.
    """

    finding_key: str
    slice_index: int
    method: str
    expert: int | None = None
    faithfulness: bool = True


@dataclass(frozen=True, eq=False)
class Score:
    """How one map fares when patches of the slice are really replaced by plain brain.

    Attributes
    ----------
    infidelity
        Mean squared difference, in logits squared, between what the map predicts for random sets of removed patches
        and what the model then says, the map's scale fitted first. Small is good; a map of zeros has the variance of
        the model's answers, `Faithfulness.unexplained`.
    deletion
        float32 (T,): the logit after removing the share `Faithfulness.fractions` of patches, highest first.
    area
        Mean of ``deletion - deletion[0]`` over the fractions, in logits. The more negative, the earlier the map found
        what drives the finding.
    """

    infidelity: float
    deletion: NDArray[np.float32]
    area: float


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Measured on the same slice, with the same patches and as many runs of the model for each map.

    Attributes
    ----------
    fractions
        float32 (T,): shares of the slice's patches that are removed, from 0 to 1.
    own, ledger, random
        The map itself, the ledger's map (None where the ledger does not reach positions), and a random map.
    unexplained
        Infidelity of a map that is zero everywhere.
    """

    fractions: NDArray[np.float32]
    own: Score
    ledger: Score | None
    random: Score
    unexplained: float


@dataclass(frozen=True, eq=False)
class SliceMap:
    """One method's answer for one finding on one slice.

    Attributes
    ----------
    finding_key, slice_index, method, expert
        As requested.
    label
        What a person reads above it.
    values
        float32 (H, W) on the prepared slice; positive pushes the finding up. In logits per pixel, except for occlusion
        (logits for removing the patch around the pixel) and Grad-CAM (no unit).
    exact
        True where ``values.sum()`` is the quantity itself and nothing is approximated.
    residual
        The quantity minus ``values.sum()``, in logits, where the method promises a sum; None where it does not.
    note
        What it may and may not be taken for, in a sentence.
    faithfulness
        None where it was not asked for.
    """

    finding_key: str
    slice_index: int
    method: str
    label: str
    values: NDArray[np.float32]
    exact: bool
    note: str
    expert: int | None = None
    residual: float | None = None
    faithfulness: Faithfulness | None = None
