"""Occlusion (Zeiler and Fergus 2014): each patch replaced by plain brain in turn."""

from __future__ import annotations

import math

import torch
from captum.attr import Occlusion
from torch import Tensor

from engine.explain.maps import SliceMapRequest
from engine.explain.methods.registry import Method, RawMap
from engine.explain.patches import patch_px
from engine.explain.subject import SliceLogit, Subject
from engine.progress import Context


def compute(subject: Subject, request: SliceMapRequest, context: Context) -> RawMap:
    """Slide a patch over the slice, side by side; every pixel gets its patch's drop in logit."""
    x_1MHW = subject.picture(request.slice_index)
    side = patch_px(subject.size_px)
    n_patches = math.prod(math.ceil(length / side) for length in subject.size_px)
    logit = SliceLogit(subject, request.finding_key, request.slice_index)
    window = (x_1MHW.shape[1], side, side)
    attribution_1MHW = Occlusion(_OnlyWhereChanged(logit, x_1MHW, context, n_patches + 1)).attribute(
        x_1MHW,
        sliding_window_shapes=window,
        strides=window,
        baselines=subject.plain_picture(request.slice_index),
        perturbations_per_eval=logit.batch,
    )
    return RawMap(
        # Every channel holds the same drop, as a patch covers all of them.
        values=attribution_1MHW[0, 0].float().cpu().numpy(),
        exact=False,
        residual=None,
        note=(
            "Each patch on its own: drops do not add up to the logit, and what two patches show together "
            "(a shift, an asymmetry) may appear in neither."
        ),
    )


class _OnlyWhereChanged:
    """Runs the model only on pictures that differ from the slice: outside the head a patch replaces nothing."""

    def __init__(self, logit: SliceLogit, x_1MHW: Tensor, context: Context, expected: int) -> None:
        self._logit, self._x_1MHW = logit, x_1MHW
        self._context, self._expected, self._done = context, expected, 0
        with torch.no_grad():
            self._unchanged = logit(x_1MHW)

    def __call__(self, x_NMHW: Tensor) -> Tensor:
        self._context.raise_if_cancelled()
        changed_N = (x_NMHW != self._x_1MHW).flatten(1).any(dim=1)
        logits_N = self._unchanged.repeat(len(x_NMHW))
        if bool(changed_N.any()):
            logits_N[changed_N.to(logits_N.device)] = self._logit(x_NMHW[changed_N])
        self._done += len(x_NMHW)
        self._context.progress(min(self._done, self._expected), self._expected, "Occluding patch by patch")
        return logits_N


METHOD = Method("occlusion", compute)
