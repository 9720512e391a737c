"""Maps on demand: one finding, one slice, one method. The compute worker calls `explain_slice`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.explain import faithfulness
from engine.explain.maps import METHODS, SliceMap, SliceMapRequest
from engine.explain.methods.registry import method
from engine.explain.subject import Subject
from engine.progress import NULL_CONTEXT, Context


def explain_slice(subject: Subject, request: SliceMapRequest, context: Context = NULL_CONTEXT) -> SliceMap:
    """Draw one map, and measure it if that was asked for.

    Not to be called under ``torch.inference_mode``: some methods need gradients through the frozen backbone.

    Parameters
    ----------
    subject
        The study and the model that analysed it.
    request
        Finding, slice and method.
    context
        Told of every batch of the backbone, and asked before each whether to stop.

    Returns
    -------
    SliceMap
        On the grid of the prepared slice.

    Raises
    ------
    InferenceError
        With code ``inference.ledger`` where a map that promises to add up does not: say so and draw nothing. With
        ``explain.finding``, ``explain.slice``, ``explain.method`` or ``explain.expert`` for what is not there.
    Cancelled
        If the context says so.
    """
    # Asked in this order so that a wrong request never costs a run of the backbone.
    subject.finding_row(request.finding_key)
    subject.feature_row(request.slice_index)
    raw = method(request.method).compute(subject, request, context)
    drawn = SliceMap(
        finding_key=request.finding_key,
        slice_index=request.slice_index,
        method=request.method,
        label=_label(request),
        values=raw.values,
        exact=raw.exact,
        note=raw.note,
        expert=request.expert,
        residual=raw.residual,
    )
    if not request.faithfulness:
        return drawn
    measured = faithfulness.measure(
        subject, request.finding_key, request.slice_index, raw.values, _ledger_values(subject, request, drawn), context
    )
    return replace(drawn, faithfulness=measured)


def expert_maps(
    subject: Subject, finding_key: str, slice_index: int, context: Context = NULL_CONTEXT
) -> tuple[SliceMap, ...]:
    """Draw where the frozen path and each expert pushed a finding up or down on a slice: 1 + K maps.

    Raises
    ------
    InferenceError, Cancelled
        As `explain_slice`.
    """
    n_experts = 0 if subject.classifier.molre is None else subject.classifier.molre.settings.n_experts
    return tuple(
        explain_slice(subject, SliceMapRequest(finding_key, slice_index, "ledger", path, False), context)
        for path in range(1 + n_experts)
    )


def _ledger_values(subject: Subject, request: SliceMapRequest, drawn: SliceMap) -> NDArray[np.float32] | None:
    """Return the ledger's map of the slice where it is exact, to stand beside the one that was asked for."""
    if subject.backbone.spec.pooled != "mean":
        return None
    if request.method == "ledger" and request.expert is None:
        return drawn.values
    whole = replace(request, method="ledger", expert=None, faithfulness=False)
    return explain_slice(subject, whole).values


def _label(request: SliceMapRequest) -> str:
    info = METHODS[method(request.method).key]
    if request.expert is None:
        return info.label
    return f"{info.label}, frozen path" if request.expert == 0 else f"{info.label}, expert {request.expert}"
