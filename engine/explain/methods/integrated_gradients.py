"""Integrated gradients (Sundararajan et al. 2017, Eq. 1) from plain brain to the slice, through the whole model."""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients

from engine.explain.maps import SliceMapRequest
from engine.explain.methods.registry import Method, RawMap
from engine.explain.subject import SliceLogit, Subject
from engine.progress import Context

STEPS = 32


def compute(subject: Subject, request: SliceMapRequest, context: Context) -> RawMap:
    """Integrate gradients along the straight line; the map is summed over the channels."""
    logit = SliceLogit(
        subject, request.finding_key, request.slice_index, context, STEPS + 2, "Integrating gradients over the slice"
    )
    x_1MHW = subject.picture(request.slice_index).requires_grad_()
    plain_1MHW = subject.plain_picture(request.slice_index)
    with torch.enable_grad():
        attribution_1MHW, delta = IntegratedGradients(logit).attribute(
            x_1MHW,
            baselines=plain_1MHW,
            n_steps=STEPS,
            internal_batch_size=logit.batch,
            return_convergence_delta=True,
        )
    values = attribution_1MHW[0].detach().sum(dim=0).float().cpu().numpy()
    return RawMap(
        values=values,
        exact=False,
        residual=-float(delta),
        note=(
            "The map sums, but for the remainder, to the logit of this slice minus that of the same head with plain "
            "brain in it. Single pixels are noisy; read regions."
        ),
    )


METHOD = Method("integrated_gradients", compute)
