"""Pillar0-HeadCT: a 3D network of whole head CT volumes, pretrained on head CT with radiology reports.

The user brings ``model.safetensors`` and the ``config.json`` beside it, which decides the network's shape.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.models.backbones._atlas_config import AtlasShape, read_config
from engine.models.backbones.conversion import ConversionPlan, Shapes, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config, TrainingProtocol
from engine.preprocess.spec import PreprocessSpec

if TYPE_CHECKING:
    from torch import nn

DISPLAY_NAME = "Pillar0-HeadCT"

TOWER = "model.visual."
"""Before the vision tower's names in the published file; the text tower's stand beside it."""

_STEMS = f"{TOWER}patch_embeds."

WINDOWS_CENTRE_WIDTH_HU = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 400.0),
    "abdomen": (40.0, 400.0),
    "liver": (80.0, 150.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "subdural": (75.0, 215.0),
    "stroke": (40.0, 40.0),
    "temporal bone": (600.0, 2800.0),
    "soft tissue": (50.0, 350.0),
}
"""The first ten channels in order; the eleventh is each volume's own range."""

FIELD_OF_VIEW_MM = 256.0
"""Side of a slice, whatever its pixels: a head and some air. Public code of the same family crops heads to this."""

SLICE_MM = 1.25
"""How the weights' authors spaced their slices is not published. Public code of the same family takes 128 slices of
1.25 mm, 160 mm in all: a head from the vertex to the skull base, in slices about as thin as the thin series of a head
CT. So do we."""

REFERENCE_CONFIG: Config = {
    "modalities": {
        "brain_ct": {
            "image_size": [256, 256, 128],
            "patch_size": [8, 8, 4],
            "in_chans": 11,
            "num_features": 192,
            "merge_ratio": [8, 8, 8],
            "local2global": [2, 2, 2],
        }
    },
    "model": {
        "stages": [2, 2, 8],
        "atlas_args": {"dim": 384, "num_heads": 12, "mlp_ratio": 4.0, "qkv_bias": True},
    },
}
"""A complete configuration of the size that the public descriptions give: 12 blocks, dim 384, 3 scales. How the blocks
are shared among the stages and the number of heads are assumed; neither changes the number of parameters. For tables
and tests only: weights are always built from the file beside them."""


TRAINING = TrainingProtocol(
    source="Agrawal et al., arXiv:2511.17803, section A.5; the decay from the configurations in their pillar-finetune",
    fine_tune="full",
    learning_rate=1e-5,
    weight_decay=0.0,
    batch_size=32,
    accumulate=4,
    rotations_only=True,
)
"""How its authors fine-tuned it on the head CT of RSNA 2019: AdamW at a fixed rate of 1e-5, batches of 8 accumulated
over 4, random rotations. That section names neither the loss, nor the angles, nor a weight decay. The configurations of
the published fine-tuning code, which are of chest CT, have a decay of 0, and the paper's Table 2 says that the whole
network trains."""


def preprocessing(volume: tuple[int, int, int]) -> PreprocessSpec:
    """Return how a study is prepared for a network of these slices, rows and columns."""
    slices, rows, columns = volume
    return PreprocessSpec(
        spacing_mm=(SLICE_MM, FIELD_OF_VIEW_MM / rows, FIELD_OF_VIEW_MM / columns),
        size_px=(rows, columns),
        windows_hu=tuple(
            (centre - width / 2, centre + width / 2) for centre, width in WINDOWS_CENTRE_WIDTH_HU.values()
        ),
        n_slices=slices,
        min_max=True,
    )


SPEC = BackboneSpec(
    name="pillar0_headct",
    display_name=DISPLAY_NAME,
    timm_name=None,
    dimensions=3,
    feature_width=1152,
    native_size=(128, 256, 256),
    # The published code applies the windows and nothing after them.
    mean=(0.0,) * 11,
    std=(1.0,) * 11,
    # The copies of the finest scale that a stage still works on; of the others, later stages never call theirs.
    lora_targets=("blocks.0.attn.q", "blocks.0.attn.kv", "blocks.0.attn.proj"),
    licence="ECL-2.0",
    origin="Hugging Face, YalaLab/Pillar0-HeadCT (gated): model.safetensors with its config.json",
    pooled="own",
    gradcam_layer="grid",
    size_rule="fixed",
    paper_row="Pillar0-HeadCT",
    preprocessing=preprocessing((128, 256, 256)),
    training=TRAINING,
)


def resolve(config: Config | None) -> BackboneSpec:
    """Return the facts of the network that the user's ``config.json`` describes.

    Raises
    ------
    PackageError
        If the configuration is missing, holds an unknown key, lacks one, or describes a network that cannot be.
    """
    shape = _shape(config)
    return replace(
        SPEC,
        feature_width=shape.feature_width,
        native_size=shape.volume,
        preprocessing=preprocessing(shape.volume),
    )


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights.

    Raises
    ------
    PackageError
        As `resolve` does.
    """
    shape = _shape(config)
    # Torch takes seconds to import, and only a process that builds the network has to pay for it.
    from engine.models.backbones._atlas import AtlasNetwork

    network: nn.Module = AtlasNetwork(shape)
    return network


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Take the vision tower; leave out the text tower, the logit scale, and stems of other modalities."""
    stem = next((name.split(".")[1] for name in target if name.startswith("patch_embeds.")), "")
    dropped = tuple(name for name in source if not name.startswith(TOWER) or _is_other_stem(name, stem))
    return ConversionPlan({name: same(TOWER + name) for name in target}, dropped)


def _is_other_stem(name: str, stem: str) -> bool:
    return name.startswith(_STEMS) and not name.startswith(f"{_STEMS}{stem}.")


def _shape(config: Config | None) -> AtlasShape:
    return read_config(config, DISPLAY_NAME, channels=len(SPEC.mean))


BACKBONE = BackboneEntry(
    spec=SPEC,
    build_network=build_network,
    plan=plan,
    resolve=resolve,
    needs_config=True,
    reference_config=REFERENCE_CONFIG,
)
