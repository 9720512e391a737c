"""A compact 3D stand-in for DeepCNTD, whose code, layers and weights are not public.

Of DeepCNTD the paper states 6.9 M parameters, 1.08 M of them trainable, no attention pooling, hence no MoLRE. This is
another network of that size and interface: two frozen 3D encoders, one at full and one at half the in-plane resolution,
and a trained fusion layer before the head. For users who bring weights that they trained for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.models.backbones.conversion import ConversionPlan, Shapes, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config, TrainingProtocol
from engine.preprocess.spec import PreprocessSpec

if TYPE_CHECKING:
    from torch import nn

ENCODER_WIDTHS = (24, 64, 96, 240)
"""With `ENCODER_FEATURES` and `FUSION_HIDDEN` they make 6.88 M parameters, 1.08 M of them in fusion layer and head."""

ENCODER_FEATURES = 512
FUSION_HIDDEN = 980
_TRAINED = ("fusion.", "head.")

SPEC = BackboneSpec(
    name="deepcntd_standin",
    display_name="DeepCNTD-sized 3D network (stand-in, not the published one)",
    timm_name=None,
    dimensions=3,
    feature_width=2 * ENCODER_FEATURES,
    native_size=(40, 224, 224),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    lora_targets=("conv1", "conv2"),
    licence="That of the weights that you bring; none are published",
    origin="Your own weights for this stand-in's architecture; DeepCNTD's code and weights are not public",
    pooled="mean",
    gradcam_layer="grid",
    size_rule="fixed",
    paper_row="DeepCNTD",
    molre=False,
    fusion_hidden=FUSION_HIDDEN,
    stand_in=True,
    # 40 slices of the paper's 4 mm are 160 mm, a head from the vertex to the skull base.
    preprocessing=PreprocessSpec(n_slices=40),
    # 1.08 of 6.9 million parameters train: fusion layer and head. Rates, batches and augmentation are not published.
    training=TrainingProtocol(source="The paper, Table 2", fine_tune="none"),
)


def build_network(config: Config | None = None) -> nn.Module:
    """Make the two encoders with random weights; there is nothing to configure."""
    # Torch takes seconds to import, and only a process that builds the network has to pay for it.
    from engine.models.backbones._encoders3d import TwoEncoders

    network: nn.Module = TwoEncoders(len(SPEC.mean), ENCODER_WIDTHS, ENCODER_FEATURES)
    return network


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Take the encoders under their own names; a fusion layer and head trained elsewhere are left out."""
    dropped = tuple(name for name in source if name.startswith(_TRAINED))
    return ConversionPlan({name: same(name) for name in target}, dropped)


BACKBONE = BackboneEntry(spec=SPEC, build_network=build_network, plan=plan)
