"""The 3D Atlas multi-scale attention network (Agrawal et al., arXiv:2511.17803), under its published tensor names.

A convolutional stem, then stages of blocks in which scales exchange what they saw: coarse scales first, each finer one
attending to itself and all coarser ones, then back from fine to coarse. The feature is the token maxima of all scales.

Legend: N volume, M channel, S H W slice, row and column, C width of a token, G windows of all volumes, L tokens of a
window, D feature width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.models.backbones._atlas_config import AtlasShape, Scale, Size

_STEM_FIRST_WIDTH = 64
_POSITION_WIDTH = 512


class AtlasNetwork(nn.Module):
    """The vision tower with timm's two methods, and no classification layer.

    Attributes
    ----------
    patch_embeds
        The stem, under the name of its modality.
    atlas_models
        The stages. Each finishes one scale, from fine to coarse, and the next ones work on what is left: of every
        block's copies per scale, those for scales that are finished stay unused, as in the published file.
    grid
        Lays the scales out over the finest one; its output is `forward_features`'.
    """

    def __init__(self, shape: AtlasShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embeds = nn.ModuleDict({shape.modality: Stem(shape.channels, shape.stem_width)})
        self.atlas_models = nn.ModuleList(Stage(shape, depth) for depth in shape.stages)
        self.grid = ScaleGrid()

    def forward_features(self, x_NMSHW: Tensor) -> Tensor:
        """Return all scales over the positions of the finest one.

        Parameters
        ----------
        x_NMSHW
            Of the configured size, slices from caudal to cranial. The network itself reads them from the vertex down,
            as its published evaluation code turns them; the result is turned back.

        Returns
        -------
        Tensor
            (N, D, S/4, H/8, W/8): scale after scale along D, coarse tokens repeated at every position they cover, so
            that the maximum over positions is the feature.
        """
        x_NMSHW = x_NMSHW.flip(2)
        stem_NSHWC = self.patch_embeds[self.shape.modality](x_NMSHW).movedim(1, -1)
        left = _cut_scales(stem_NSHWC, self.shape)
        scales = self.shape.scales
        finished: list[Tensor] = []
        for index, stage in enumerate(self.atlas_models):
            left = stage(left, scales[index:])
            finished.append(_joined(left[0], scales[index], len(x_NMSHW)))
            left = left[1:]
        grid: Tensor = self.grid(finished)
        return grid

    def forward_head(self, x: Tensor, pre_logits: bool = True) -> Tensor:
        """Return the token maxima of the scales, (N, D); there is no classification layer, so `pre_logits` is moot."""
        return x.amax(dim=(2, 3, 4))

    def forward(self, x_NMSHW: Tensor) -> Tensor:
        """Return the pooled feature, (N, D)."""
        return self.forward_head(self.forward_features(x_NMSHW))


class ScaleGrid(nn.Module):
    """From the scales' tokens, (N, S, H, W, C) each, to one map over the finest positions, caudal to cranial."""

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Return (N, D, S, H, W)."""
        size = scales[0].shape[1:4]
        maps = [functional.interpolate(scale.movedim(-1, 1), size=size, mode="nearest-exact") for scale in scales]
        return torch.cat(maps, dim=1).flip(2)


class Stem(nn.Module):
    """From channels to tokens: strides (1, 2, 2), 2 and 1, three residual blocks, and stride 2 once more."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv_down = nn.Sequential(
            *_convolved(channels, _STEM_FIRST_WIDTH, (1, 2, 2)),
            *_convolved(_STEM_FIRST_WIDTH, width, (2, 2, 2)),
            *_convolved(width, width, (1, 1, 1)),
        )
        self.conv1 = nn.Sequential(ResidualBlock(width), ResidualBlock(width), ResidualBlock(width))
        self.ds1 = Halving(width)

    def forward(self, x_NMSHW: Tensor) -> Tensor:
        """Return (N, C, S/4, H/8, W/8), C being twice the stem's width."""
        x: Tensor = self.ds1(self.conv1(self.conv_down(x_NMSHW)))
        return x


def _convolved(channels: int, width: int, stride: Size) -> tuple[nn.Module, ...]:
    return (
        nn.Conv3d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(width, eps=1e-4),
        nn.ReLU(),
    )


class ResidualBlock(nn.Module):
    """Convolution, normalisation, GELU, convolution, normalisation, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm3d(width, eps=1e-5)
        self.conv2 = nn.Conv3d(width, width, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm3d(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        inner: Tensor = self.norm2(self.conv2(functional.gelu(self.norm1(self.conv1(x)))))
        return x + inner


class Halving(nn.Module):
    """Layer normalisation over channels, then a convolution of stride 2 to twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.reduction = nn.Sequential(nn.Conv3d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Halve every axis."""
        normed = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        halved: Tensor = self.reduction(normed)
        return halved


class Stage(nn.Module):
    """Blocks that work on the scales that are left."""

    def __init__(self, shape: AtlasShape, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MultiScaleBlock(shape) for _ in range(depth))

    def forward(self, tokens: list[Tensor], scales: tuple[Scale, ...]) -> list[Tensor]:
        """Return the tokens of the same scales, ``tokens_GLC`` each."""
        for block in self.blocks:
            tokens = block(tokens, scales)
        return tokens


class MultiScaleBlock(nn.Module):
    """One exchange between all scales; holds a copy of everything per scale."""

    def __init__(self, shape: AtlasShape) -> None:
        super().__init__()
        self.pool = shape.pool
        self.blocks = nn.ModuleList(ScaleBlock(shape) for _ in shape.scales)
        self.posemb = nn.ModuleList(WindowPositions(shape.dim) for _ in shape.scales)

    def forward(self, tokens: list[Tensor], scales: tuple[Scale, ...]) -> list[Tensor]:
        """Add positions, pool upwards, then attend from coarse to fine and from fine to coarse."""
        tokens = [
            x_GLC + embedding(scale.window)
            for x_GLC, embedding, scale in zip(tokens, self.posemb, scales, strict=False)
        ]
        n_volumes = len(tokens[0]) // scales[0].n_windows
        self._pool_upwards(tokens, scales, n_volumes)
        self._coarse_to_fine(tokens)
        for index in range(1, len(tokens)):
            tokens[index] = self._fine_to_coarse(tokens, scales, index, n_volumes)
        return tokens

    def _pool_upwards(self, tokens: list[Tensor], scales: tuple[Scale, ...], n_volumes: int) -> None:
        """Add to every scale the maxima of the next finer one, which has been added to already."""
        for index in range(1, len(tokens)):
            finer_NCSHW = _joined(tokens[index - 1], scales[index - 1], n_volumes).movedim(-1, 1)
            pooled = functional.max_pool3d(finer_NCSHW, self.pool).movedim(1, -1)
            tokens[index] = tokens[index] + _cut(pooled, scales[index].windows)

    def _coarse_to_fine(self, tokens: list[Tensor]) -> None:
        """Let each scale attend to itself and to all coarser ones as they now are.

        Which coarse window a fine one sees follows from their order alone, not from their places: the fine windows in
        raster order are shared out in equal runs. So the published network was trained.
        """
        coarser: list[tuple[Tensor, Tensor]] = []
        for index in reversed(range(len(tokens))):
            block, x_GLC = self._copy(index), tokens[index]
            seen = [block.keys_and_values(x_GLC)]
            seen += [(_repeated(keys, len(x_GLC)), _repeated(values, len(x_GLC))) for keys, values in coarser]
            keys_GLC, values_GLC = (torch.cat(parts, dim=1) for parts in zip(*seen, strict=True))
            tokens[index] = block.finish(x_GLC, block.attn(block.queries(x_GLC), keys_GLC, values_GLC))
            coarser.append(block.keys_and_values(tokens[index]))

    def _fine_to_coarse(self, tokens: list[Tensor], scales: tuple[Scale, ...], index: int, n_volumes: int) -> Tensor:
        """Let the tokens of a scale attend to the window of the next finer scale that they lie in."""
        block, finer = self._copy(index), self._copy(index - 1)
        scale, cut_as = scales[index], scales[index - 1].windows
        queries_GLC = _cut(_joined(block.queries(tokens[index]), scale, n_volumes), cut_as)
        attended_GLC = block.attn(queries_GLC, *finer.keys_and_values(tokens[index - 1]))
        window = _divided(scale.size, cut_as)
        attended_NSHWC = _joined(attended_GLC, Scale(cut_as, window), n_volumes)
        return block.finish(tokens[index], _cut(attended_NSHWC, scale.windows))

    def _copy(self, index: int) -> ScaleBlock:
        return cast(ScaleBlock, self.blocks[index])


class ScaleBlock(nn.Module):
    """The transformer block of one scale."""

    def __init__(self, shape: AtlasShape) -> None:
        super().__init__()
        self.norm1_q = nn.LayerNorm(shape.dim)
        self.norm1_kv = nn.LayerNorm(shape.dim)
        self.attn = CrossAttention(shape)
        self.norm2 = nn.LayerNorm(shape.dim)
        self.mlp = Perceptron(shape.dim, shape.mlp_width)

    def queries(self, x_GLC: Tensor) -> Tensor:
        """Return the queries of tokens, all heads side by side."""
        q_GLC: Tensor = self.attn.q(self.norm1_q(x_GLC))
        return q_GLC

    def keys_and_values(self, x_GLC: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, all heads side by side."""
        keys_GLC, values_GLC = self.attn.kv(self.norm1_kv(x_GLC)).chunk(2, dim=-1)
        return keys_GLC, values_GLC

    def finish(self, x_GLC: Tensor, attended_GLC: Tensor) -> Tensor:
        """Add what was attended to, then what the perceptron makes of the sum."""
        x_GLC = x_GLC + attended_GLC
        added: Tensor = self.mlp(self.norm2(x_GLC))
        return x_GLC + added


class CrossAttention(nn.Module):
    """Multi-head attention whose queries come from elsewhere than its keys and values."""

    def __init__(self, shape: AtlasShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q = nn.Linear(shape.dim, shape.dim, bias=shape.qkv_bias)
        self.kv = nn.Linear(shape.dim, 2 * shape.dim, bias=shape.qkv_bias)
        self.proj = nn.Linear(shape.dim, shape.dim)

    def forward(self, queries_GLC: Tensor, keys_GLC: Tensor, values_GLC: Tensor) -> Tensor:
        """Attend within each window and project; all three are projected already."""
        q, k, v = (x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2) for x in (queries_GLC, keys_GLC, values_GLC))
        attended = functional.scaled_dot_product_attention(q, k, v)
        projected_GLC: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected_GLC


class Perceptron(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, width)
        self.fc2 = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        made: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return made


class WindowPositions(nn.Module):
    """An embedding of the place within a window, made from its three coordinates in -1..1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cpb_mlp = nn.Sequential(
            nn.Linear(3, _POSITION_WIDTH), nn.ReLU(), nn.Linear(_POSITION_WIDTH, dim, bias=False)
        )

    def forward(self, window: Size) -> Tensor:
        """Return (1, L, C) for a window of (slices, rows, columns).

        The published network lists places with the slice running fastest (row, column, slice), its tokens with the
        column running fastest, and adds the two as they stand. In a cube that only permutes the axes' names; the
        weights were trained so, hence it is kept.
        """
        weight = cast(nn.Linear, self.cpb_mlp[0]).weight
        slices, rows, columns = window
        axes = [_coordinates(length, weight.device) for length in (rows, columns, slices)]
        places_L3 = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
        embedding_1LC: Tensor = self.cpb_mlp(places_L3[None].to(weight.dtype))
        return embedding_1LC


def _coordinates(length: int, device: torch.device) -> Tensor:
    """Steps from the middle, in halves of the length; 0 where there is only one."""
    places = torch.arange(length, device=device, dtype=torch.float32)
    return places if length == 1 else (places - length // 2) / (length // 2)


def _cut_scales(stem_NSHWC: Tensor, shape: AtlasShape) -> list[Tensor]:
    """Pool the stem's map once for every scale and cut each into its windows."""
    maps = [stem_NSHWC]
    for index in range(1, len(shape.scales)):
        kernel = [factor**index for factor in shape.pool]
        maps.append(functional.max_pool3d(stem_NSHWC.movedim(-1, 1), kernel).movedim(1, -1))
    return [_cut(x_NSHWC, scale.windows) for x_NSHWC, scale in zip(maps, shape.scales, strict=True)]


def _cut(x_NSHWC: Tensor, windows: Size) -> Tensor:
    """Cut a map into windows in raster order: (N, S, H, W, C) to (G, L, C)."""
    n_volumes, *size, width = x_NSHWC.shape
    window = [length // count for length, count in zip(size, windows, strict=True)]
    paired = [part for pair in zip(windows, window, strict=True) for part in pair]
    apart = x_NSHWC.reshape(n_volumes, *paired, width)
    return apart.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(0, 3)


def _joined(x_GLC: Tensor, scale: Scale, n_volumes: int) -> Tensor:
    """Put windows back into a map: (G, L, C) to (N, S, H, W, C)."""
    apart = x_GLC.reshape(n_volumes, *scale.windows, *scale.window, x_GLC.shape[-1])
    return apart.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n_volumes, *scale.size, x_GLC.shape[-1])


def _repeated(x_GLC: Tensor, n_windows: int) -> Tensor:
    return x_GLC.repeat_interleave(n_windows // len(x_GLC), dim=0)


def _divided(size: Size, by: Size) -> Size:
    first, second, third = (length // count for length, count in zip(size, by, strict=True))
    return first, second, third
