"""The ledger's entries of one slice, split over image positions.

Where the backbone's feature is the plain mean of its last grid, ``x_s = mean_p x_sp``, every entry is linear in the
positions: position p holds ``α_s w_c·W0 x_sp / P`` and ``α_s g_k(x_s) w_c·B_k A_k x_sp / P``. That split is exact. For
other backbones it is first order: gradient × activation at the spec's layer, with the remainder stated.

Legend: S slice, D feature width, K expert, R rank, P position, ``...`` the grid: h, w, or s, h, w for volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.analysis import LEDGER_TOLERANCE
from engine.errors import InferenceError
from engine.explain.ledger import compute_ledger, linear_head
from engine.explain.subject import Subject
from engine.models.molre import MoLRE
from engine.progress import NULL_CONTEXT, Context


@dataclass(frozen=True, eq=False)
class SpatialLedger:
    """One finding's ledger on one slice, by position.

    Attributes
    ----------
    values
        float64 (1 + K, ...): frozen path, then experts.
    entries
        float64 (1 + K,): the same row of the ledger.
    exact
        Whether `values` summed over positions is `entries`.
    residual
        float64 (1 + K,): ``entries`` minus the sums; below the ledger's tolerance where exact.
    """

    values: NDArray[np.float64]
    entries: NDArray[np.float64]
    exact: bool
    residual: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Paths:
    """Entry k of a slice is ``directions_KD[k]·x_s + offsets_K[k]``; here K counts the frozen path too, first."""

    directions_KD: Tensor
    offsets_K: Tensor
    entries_K: Tensor


def ledger_paths(subject: Subject, row: int, slice_row: int) -> Paths:
    """Write a slice's row of the ledger as linear functions of its feature, attention and gates as they were."""
    classifier = subject.classifier
    with torch.no_grad():
        features_BSD = torch.from_numpy(subject.features_SD).unsqueeze(0).to(classifier.head.weight.device)
        output = classifier(features_BSD)
        ledger_BCSK, _ = compute_ledger(classifier, features_BSD, output)
        head = linear_head(classifier, output.pooled_BD)
        weight_D, attention = head.weight_BCD[0, row], output.attention_BS[0, slice_row]
        entries_K = ledger_BCSK[0, row, slice_row]
        directions = _directions(classifier.molre, weight_D, output.gates_BSK[0, slice_row])
        offsets_K = torch.zeros_like(entries_K)
        offsets_K[0] = head.offset_BC[0, row] * attention
        return Paths(directions * attention, offsets_K, entries_K)


def spatial_ledger(
    subject: Subject, finding_key: str, slice_index: int, context: Context = NULL_CONTEXT
) -> SpatialLedger:
    """Split one finding's entries of one slice over positions; the backbone runs once more, on this slice.

    Raises
    ------
    InferenceError
        With code ``inference.ledger`` if the backbone's feature is a mean and the sums are not the ledger's entries:
        then nothing may be drawn. Also for a finding or slice that is not there.
    Cancelled
        If the context says so.
    """
    row, slice_row = subject.finding_row(finding_key), subject.feature_row(slice_index)
    paths = ledger_paths(subject, row, slice_row)
    context.raise_if_cancelled()
    exact = subject.backbone.spec.pooled == "mean"
    split = _exact_split if exact else _first_order_split
    values_K = split(subject, paths, slice_index).double().cpu().numpy()
    entries_K = paths.entries_K.double().cpu().numpy()
    residual_K = entries_K - values_K.reshape(len(values_K), -1).sum(axis=1)
    if exact:
        _check(float(np.abs(residual_K).max()), finding_key, slice_index)
    return SpatialLedger(values_K, entries_K, exact, residual_K)


def _directions(molre: MoLRE | None, weight_D: Tensor, gates_K: Tensor) -> Tensor:
    """Carry a row of the head back through W0 and through every gated expert: (1 + K, D)."""
    if molre is None:
        return weight_D.unsqueeze(0)
    frozen_D = weight_D if molre.frozen_weight_DD is None else weight_D @ molre.frozen_weight_DD
    at_rank_KR = torch.einsum("d,kdr->kr", weight_D, molre.up_KDR)
    experts_KD = torch.einsum("kr,krd->kd", at_rank_KR, molre.down_KRD) * gates_K.unsqueeze(-1)
    return torch.cat([frozen_D.unsqueeze(0), experts_KD])


def _exact_split(subject: Subject, paths: Paths, slice_index: int) -> Tensor:
    with torch.no_grad():
        grid = subject.backbone.feature_grid(subject.network_input(slice_index))[0].float()
        grid = grid.to(paths.directions_KD.device)
        n_positions = grid.numel() // grid.shape[-1]
        amounts = torch.movedim(grid.double() @ paths.directions_KD.double().T, -1, 0)
        return (amounts + paths.offsets_K.double().view(-1, *(1,) * (amounts.ndim - 1))) / n_positions


def _first_order_split(subject: Subject, paths: Paths, slice_index: int) -> Tensor:
    """Gradient × activation of each entry at the last grid that gradients reach.

    What the class token and registers carry, and the curvature of what lies between, is in the residual.
    """
    backbone = subject.backbone
    x = subject.network_input(slice_index)
    kept: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        # A copy: what follows may work in place, and a leaf may not be changed.
        return kept[-1].clone()

    handle = backbone.network.get_submodule(backbone.spec.gradcam_layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            feature_D = backbone(x)[0].float().to(paths.directions_KD.device)
    finally:
        handle.remove()
    (activation,) = kept
    size = backbone.spec.input_size(tuple(x.shape[2:]))
    maps = []
    for direction_D in paths.directions_KD:
        (gradient,) = torch.autograd.grad(feature_D @ direction_D, activation, retain_graph=True)
        maps.append(backbone.to_grid(gradient * activation.detach(), size)[0].sum(dim=-1))
    return torch.stack(maps).float()


def _check(error: float, finding_key: str, slice_index: int) -> None:
    if not error < LEDGER_TOLERANCE:
        raise InferenceError(
            f"The map of {finding_key} on slice {slice_index} differs from the ledger by {error:.3g}, more than "
            f"{LEDGER_TOLERANCE:g} allows; it is not drawn.",
            hint="Run the study again on the CPU; if the message comes again, choose another model.",
            code="inference.ledger",
            kind="environment",
        )
