"""Grad-CAM (Selvaraju et al. 2017, Eq. 1 and 2, without its final ReLU) at the layer that the backbone's spec names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from engine.explain.maps import SliceMapRequest
from engine.explain.methods.ledger import draw
from engine.explain.methods.registry import Method, RawMap
from engine.explain.subject import SliceLogit, Subject
from engine.models.backbones.network import Backbone
from engine.progress import Context


def compute(subject: Subject, request: SliceMapRequest, context: Context) -> RawMap:
    """Weigh each channel of the last grid by its mean gradient, and add them up; the sign is kept."""
    logit = SliceLogit(subject, request.finding_key, request.slice_index, context, 1, "Reading the last layer")
    x_1MHW = subject.picture(request.slice_index).requires_grad_()
    size = subject.backbone.spec.input_size(tuple(subject.network_input(request.slice_index).shape[2:]))
    with torch.enable_grad(), _grid_of_layer(subject.backbone, size) as grid:
        cam = LayerGradCam(logit, grid).attribute(x_1MHW, relu_attributions=False)
    values = draw(subject, cam[0, 0].detach().double().cpu().numpy(), request.slice_index)
    return RawMap(
        values=np.asarray(values),
        exact=False,
        residual=None,
        note=(
            "Coarse: one value for each cell of the last grid, drawn smoothly. Its size has no unit, "
            "only order and sign within this slice mean something."
        ),
    )


@contextmanager
def _grid_of_layer(backbone: Backbone, input_size: tuple[int, ...]) -> Iterator[nn.Module]:
    """Give a module whose output is the layer's, with tokens laid out as a grid (N, D, ...), and put all back after.

    Captum weighs what stands along axis 1 by the mean gradient over the others, so tokens (N, P, D) must become a grid
    on the way; the class token and registers pass by.
    """
    grid = nn.Identity()

    def pass_through_grid(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if output.ndim == 2 + backbone.spec.dimensions:
            mapped: Tensor = grid(output)
            return mapped
        laid_out = grid(backbone.to_grid(output, input_size).movedim(-1, 1))
        positions_NPD = laid_out.movedim(1, -1).flatten(1, -2)
        return torch.cat([output[:, : output.shape[1] - positions_NPD.shape[1]], positions_NPD], dim=1)

    handle = backbone.network.get_submodule(backbone.spec.gradcam_layer).register_forward_hook(pass_through_grid)
    try:
        yield grid
    finally:
        handle.remove()


METHOD = Method("gradcam", compute)
