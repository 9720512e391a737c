"""Elastic deformation (Simard et al., ICDAR 2003): noise from -1 to 1 a voxel, smoothed by a Gaussian, times α.

A smooth field needs no noise on every voxel: the noise is drawn on a lattice a third of σ apart, with the variance that
the mean of the voxels between two lattice points would have, and the Gaussian is evaluated at the voxels. In mean and
covariance that is the field of the definition, for a fiftieth of the work.

Legend: S slice, H row, W column, U, V, T lattice points along them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS_PER_SIGMA = 3.0
_REACH_SIGMAS = 3.0
_UNIFORM_STD = 1.0 / math.sqrt(3.0)


def elastic_field(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    alpha: float,
    sigma_mm: float,
    seed: int,
    device: torch.device = torch.device("cpu"),
) -> Tensor:
    """Return how far every voxel is displaced.

    Parameters
    ----------
    shape, spacing_mm
        S, H, W and the distances between them.
    alpha, sigma_mm
        Strength, and the Gaussian's standard deviation. Both count in voxels of 1 mm, as the paper's pixels are.
    seed
        Of the noise, which is drawn on the CPU and so is the same on every device.

    Returns
    -------
    Tensor
        ``field_3SHW``, float32, in millimetres: the displacement along slices, rows and columns.
    """
    step_mm = sigma_mm / _STEPS_PER_SIGMA
    weights = [_weights(n, mm, sigma_mm, step_mm) for n, mm in zip(shape, spacing_mm, strict=True)]
    lattice = (3, *(weight.shape[1] for weight in weights))
    noise_3UVT = torch.randn(lattice, generator=torch.Generator().manual_seed(seed))
    noise_3UVT *= alpha * _UNIFORM_STD / step_mm**1.5
    slices_SU, rows_HV, columns_WT = (weight.to(device) for weight in weights)
    field_3UVW = noise_3UVT.to(device) @ columns_WT.T
    field_3UHW = torch.einsum("hv,cuvw->cuhw", rows_HV, field_3UVW)
    return torch.einsum("su,cuhw->cshw", slices_SU, field_3UHW)


def _weights(n: int, spacing_mm: float, sigma_mm: float, step_mm: float) -> Tensor:
    """Return the Gaussian between voxels and lattice points, (n, points); a row sums to 1 but for what is cut off."""
    reach_mm = _REACH_SIGMAS * sigma_mm
    n_points = math.ceil(((n - 1) * spacing_mm + 2 * reach_mm) / step_mm) + 1
    voxels_mm = torch.arange(n, dtype=torch.float64) * spacing_mm
    points_mm = torch.arange(n_points, dtype=torch.float64) * step_mm - reach_mm
    distance = (voxels_mm[:, None] - points_mm[None, :]) / sigma_mm
    density = torch.exp(-0.5 * distance**2) / (sigma_mm * math.sqrt(2.0 * math.pi))
    return (density * step_mm).float()
