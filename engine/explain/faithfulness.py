"""How far a map agrees with what the model does when parts of the slice are really taken away.

Infidelity is captum's (Yeh et al. 2019, Definition 2.1, with the optimal scale of their section 3), over patches
instead of pixels: then a map in logits, a coarse one and one without a unit are asked the same question. The deletion
curve removes patches from the highest value down (Petsiuk et al. 2018).

Legend: P patches, N versions.
"""

from __future__ import annotations

import numpy as np
import torch
from captum.metrics import infidelity
from numpy.typing import NDArray
from torch import Tensor

from engine.explain.maps import Faithfulness, Score
from engine.explain.patches import PatchedSlice
from engine.explain.subject import SliceLogit, Subject
from engine.progress import Context

SAMPLES = 16
_REMOVED = 0.3
_STEPS = 10
_SEED = 20260101


def measure(
    subject: Subject,
    finding_key: str,
    slice_index: int,
    values: NDArray[np.float32],
    ledger_values: NDArray[np.float32] | None,
    context: Context,
) -> Faithfulness | None:
    """Measure a map beside the ledger's and a random one, on the same removed patches.

    Parameters
    ----------
    values, ledger_values
        (H, W); the second is None where the ledger does not reach positions.

    Returns
    -------
    Faithfulness or None
        None where the slice has nothing to remove: it shows no head.

    Raises
    ------
    Cancelled
        If the context says so, between batches.
    """
    expected = 2 + SAMPLES + (_STEPS - 1) * (2 if ledger_values is None else 3)
    logit = SliceLogit(subject, finding_key, slice_index, context, expected, "Testing the map against the model")
    patched = PatchedSlice(logit)
    if patched.n_patches == 0:
        return None
    random_P = np.random.default_rng(_SEED).standard_normal(patched.n_patches).astype(np.float32)
    return Faithfulness(
        fractions=np.linspace(0, 1, _STEPS + 1, dtype=np.float32),
        own=_score(patched, patched.sums(values)),
        ledger=None if ledger_values is None else _score(patched, patched.sums(ledger_values)),
        random=_score(patched, random_P),
        unexplained=_infidelity(patched, np.zeros(patched.n_patches, dtype=np.float32)),
    )


def _score(patched: PatchedSlice, amounts_P: NDArray[np.float32]) -> Score:
    curve = _deletion(patched, amounts_P)
    area = float(np.trapezoid(curve - curve[0], dx=1.0 / _STEPS))
    return Score(_infidelity(patched, amounts_P), curve, area)


def _deletion(patched: PatchedSlice, amounts_P: NDArray[np.float32]) -> NDArray[np.float32]:
    order = np.argsort(-amounts_P, kind="stable")
    there_NP = torch.ones(_STEPS + 1, patched.n_patches)
    for step in range(_STEPS + 1):
        there_NP[step, order[: round(step * patched.n_patches / _STEPS)]] = 0
    return patched(there_NP).numpy()


def _infidelity(patched: PatchedSlice, amounts_P: NDArray[np.float32]) -> float:
    # A fresh generator each time: every map of the slice meets the same removals.
    generator = torch.Generator().manual_seed(_SEED)

    def remove(there_NP: Tensor) -> tuple[Tensor, Tensor]:
        removed_NP = (torch.rand(there_NP.shape, generator=generator) < _REMOVED).float()
        return removed_NP, there_NP - removed_NP

    result = infidelity(
        patched,
        remove,
        torch.ones(1, patched.n_patches),
        torch.from_numpy(_unit(amounts_P)).unsqueeze(0),
        n_perturb_samples=SAMPLES,
        normalize=True,
    )
    return float(result)


def _unit(amounts_P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale to a largest value of 1: the scale is fitted anyway, and tiny numbers would be lost in its squares."""
    largest = float(np.abs(amounts_P).max())
    return amounts_P / np.float32(largest) if largest > 0 else amounts_P
