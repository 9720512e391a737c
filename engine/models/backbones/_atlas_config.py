"""What the ``config.json`` of an Atlas network says, checked, and the scales that follow from it. No torch.

Sizes are stated by the published file in two orders: ``image_size`` and ``patch_size`` are height, width, depth;
``merge_ratio`` and ``local2global`` are depth, height, width. Here everything is (slices, rows, columns).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError

from engine.config import FrozenConfig, describe_validation
from engine.errors import PackageError

Triple = tuple[PositiveInt, PositiveInt, PositiveInt]
Size = tuple[int, int, int]

STEM_STRIDE: Size = (4, 8, 8)
"""Slices, rows and columns of the volume per position of the finest scale: what the head stem's strides multiply to."""

HEAD_MODALITIES = ("brain_ct", "head_ct")
_WRAPPERS = ("vision_cfg", "model_config")
_HINT = "Use the config.json that was published beside the weights, unchanged; it decides the network's shape."


class AtlasModality(FrozenConfig):
    """One entry of ``modalities``: the volume that the network sees, and how its scales are cut."""

    image_size: Triple
    patch_size: Triple
    in_chans: PositiveInt = 1
    num_features: PositiveInt = 192
    merge_ratio: Triple
    local2global: Triple
    num_views: Literal[1] = 1
    view_pos_embed: None = None


class AtlasArguments(FrozenConfig):
    """``atlas_args``: the attention blocks. Dropout rates are known and without effect, as nothing is trained here."""

    dim: PositiveInt
    num_heads: PositiveInt
    mlp_ratio: float = Field(default=4.0, gt=0)
    qkv_bias: bool = True
    qk_scale: None = None
    drop: float = Field(default=0.0, ge=0, lt=1)
    attn_drop: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class AtlasModel(FrozenConfig):
    """``model``: the number of blocks of every stage, and the arguments that they share."""

    stages: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    atlas_args: AtlasArguments


class AtlasConfig(FrozenConfig):
    """The vision tower's configuration."""

    modalities: Annotated[dict[str, AtlasModality], Field(min_length=1)]
    model: AtlasModel


@dataclass(frozen=True)
class Scale:
    """One resolution of the features: number of windows and size of each, along (slices, rows, columns)."""

    windows: Size
    window: Size

    @property
    def size(self) -> Size:
        """Positions along each axis."""
        first, second, third = (count * length for count, length in zip(self.windows, self.window, strict=True))
        return first, second, third

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return math.prod(self.windows)


@dataclass(frozen=True)
class AtlasShape:
    """Everything that the network is built from; made by `read_config`, so it fits together.

    Attributes
    ----------
    modality
        Name that the stem has in the published file.
    volume
        Slices, rows and columns of the input.
    channels, stem_width, dim, heads, mlp_width
        Widths; `dim` is twice `stem_width`.
    qkv_bias
        Whether queries, keys and values have a bias.
    stages
        Blocks of each stage; there are as many stages as scales.
    pool
        Factor from each scale to the next coarser one, along each axis.
    scales
        From fine to coarse.
    """

    modality: str
    volume: Size
    channels: int
    stem_width: int
    dim: int
    heads: int
    mlp_width: int
    qkv_bias: bool
    stages: tuple[int, ...]
    pool: Size
    scales: tuple[Scale, ...]

    @property
    def feature_width(self) -> int:
        """D: the token maxima of all scales."""
        return self.dim * len(self.scales)


def read_config(config: Mapping[str, Any] | None, display_name: str, channels: int) -> AtlasShape:
    """Check the user's ``config.json`` and work out the scales.

    Parameters
    ----------
    config
        The file's content. The vision tower's part may lie inside ``vision_cfg`` and ``model_config``; what stands
        beside those two (the text tower's part) is not read.
    display_name
        What to call the network in messages.
    channels
        How many channels a prepared volume has.

    Raises
    ------
    PackageError
        If it is missing, lacks a key, holds an unknown one, or describes a network that cannot be.
    """
    if config is None:
        raise _refused(display_name, "it is missing")
    try:
        parsed = AtlasConfig.model_validate(_tower(config))
    except ValidationError as error:
        raise _refused(display_name, describe_validation(error)) from error
    name = _head_modality(parsed, display_name)
    why = _why_impossible(parsed, parsed.modalities[name], channels)
    if why:
        raise _refused(display_name, why)
    return _shape(parsed, name)


def _tower(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the part that holds ``modalities`` inside the wrappers that a published file puts around it."""
    for wrapper in _WRAPPERS:
        inner = config.get(wrapper)
        if "modalities" not in config and isinstance(inner, Mapping):
            return _tower(inner)
    return config


def _head_modality(config: AtlasConfig, display_name: str) -> str:
    found = [name for name in HEAD_MODALITIES if name in config.modalities]
    if len(found) == 1:
        return found[0]
    given = ", ".join(sorted(config.modalities))
    raise _refused(display_name, f"of modalities it must have one of {' or '.join(HEAD_MODALITIES)}, and has {given}")


def _shape(config: AtlasConfig, name: str) -> AtlasShape:
    modality, arguments = config.modalities[name], config.model.atlas_args
    return AtlasShape(
        modality=name,
        volume=_slices_first(modality.image_size),
        channels=modality.in_chans,
        stem_width=modality.num_features,
        dim=arguments.dim,
        heads=arguments.num_heads,
        mlp_width=int(arguments.dim * arguments.mlp_ratio),
        qkv_bias=arguments.qkv_bias,
        stages=config.model.stages,
        pool=modality.local2global,
        scales=_scales(modality),
    )


def _slices_first(size: Triple) -> Size:
    """From (height, width, depth), as the file has it."""
    return size[2], size[0], size[1]


def _grid(modality: AtlasModality) -> Size:
    """Positions of the finest scale."""
    first, second, third = (
        length // stride for length, stride in zip(_slices_first(modality.image_size), STEM_STRIDE, strict=True)
    )
    return first, second, third


def _scales(modality: AtlasModality) -> tuple[Scale, ...]:
    """Pool until one window holds everything, or until the number of scales that the sizes ask for is reached."""
    window, grid = modality.merge_ratio, _grid(modality)
    excess, factor = math.prod(grid) / math.prod(window), math.prod(modality.local2global)
    most = math.ceil(math.log2(excess) / math.log2(factor)) + 1 if excess > 1 and factor > 1 else 1
    scales: list[Scale] = []
    for index in range(most):
        size = _pooled(grid, modality.local2global, index)
        cut = excess > 1 and all(length >= own for length, own in zip(size, window, strict=True))
        scales.append(Scale(_divided(size, window), window) if cut else Scale((1, 1, 1), size))
        if scales[-1].n_windows == 1:
            break
    return tuple(scales)


def _pooled(grid: Size, pool: Triple, times: int) -> Size:
    first, second, third = (length // factor**times for length, factor in zip(grid, pool, strict=True))
    return first, second, third


def _divided(size: Size, window: Size) -> Size:
    first, second, third = (length // own for length, own in zip(size, window, strict=True))
    return first, second, third


def _why_impossible(config: AtlasConfig, modality: AtlasModality, channels: int) -> str:
    """Return in one phrase why the parts do not fit together; empty if they do."""
    arguments, size = config.model.atlas_args, _slices_first(modality.image_size)
    if modality.in_chans != channels:
        return f"in_chans is {modality.in_chans}, and a volume is prepared with {channels} channels"
    if _slices_first(modality.patch_size) != STEM_STRIDE:
        return f"patch_size is {list(modality.patch_size)}, and the head network's is [8, 8, 4]"
    if not _divisible(size, STEM_STRIDE):
        return f"image_size {list(modality.image_size)} is no multiple of patch_size {list(modality.patch_size)}"
    if arguments.dim != 2 * modality.num_features:
        return f"dim is {arguments.dim}, and must be twice num_features ({modality.num_features})"
    if arguments.dim % arguments.num_heads:
        return f"dim {arguments.dim} cannot be shared among {arguments.num_heads} heads"
    scales = _scales(modality)
    if len(scales) != len(config.model.stages):
        n_stages = len(config.model.stages)
        return f"image_size, merge_ratio and local2global give {len(scales)} scales, and stages has {n_stages}"
    return _why_scales_misfit(scales, _grid(modality), modality)


def _why_scales_misfit(scales: tuple[Scale, ...], grid: Size, modality: AtlasModality) -> str:
    for index, scale in enumerate(scales):
        size = _pooled(grid, modality.local2global, index)
        if not all(scale.size) or scale.size != size:
            return f"scale {index} of {list(size)} positions cannot be cut by merge_ratio {list(modality.merge_ratio)}"
        if index + 1 < len(scales) and not (
            _divisible(size, modality.local2global) and _divisible(scale.window, modality.local2global)
        ):
            return f"merge_ratio {list(modality.merge_ratio)} is no multiple of local2global at scale {index}"
        if index and (not _divisible(size, scales[index - 1].windows) or scales[index - 1].n_windows % scale.n_windows):
            return f"the windows of scale {index} do not divide those of scale {index - 1}"
    return ""


def _divisible(size: tuple[int, ...], by: tuple[int, ...]) -> bool:
    return all(length % step == 0 for length, step in zip(size, by, strict=True))


def _refused(display_name: str, reason: str) -> PackageError:
    return PackageError(
        f"The config.json for {display_name} cannot be used: {reason}.", hint=_HINT, code="backbone.config"
    )
