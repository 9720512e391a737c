"""All transforms in their order: the volume is moved once, in HU, then windowed; brightness and noise follow.

Legend: M channel, S slice, H row, W column.
"""

from __future__ import annotations

from torch import Tensor

from engine.preprocess.spec import PreprocessSpec
from trainer.augment.brightness import brightened
from trainer.augment.elastic import elastic_field
from trainer.augment.mirror import mirrored
from trainer.augment.noise import noisy
from trainer.augment.parameters import AugmentParameters
from trainer.augment.rotation import rotation
from trainer.augment.scaling import scaling
from trainer.augment.warp import warped
from trainer.augment.windows import channels_of


def moved(volume_SHW: Tensor, spec: PreprocessSpec, drawn: AugmentParameters) -> Tensor:
    """Return the volume in HU after rotation, scaling and the elastic field, in one interpolation, and mirroring."""
    slices, rows, columns = volume_SHW.shape
    field_3SHW = elastic_field(
        (slices, rows, columns),
        spec.spacing_mm,
        drawn.elastic_alpha,
        drawn.elastic_sigma,
        drawn.elastic_seed,
        volume_SHW.device,
    )
    matrix = rotation(drawn.rotation_rad) @ scaling(drawn.scale)
    return mirrored(warped(volume_SHW, spec.spacing_mm, matrix, field_3SHW), drawn.mirror)


def augmented(volume_SHW: Tensor, spec: PreprocessSpec, drawn: AugmentParameters) -> Tensor:
    """Return what a network reads of an augmented volume.

    Parameters
    ----------
    volume_SHW
        float32, a prepared volume in HU.
    spec
        What it was prepared with.
    drawn
        The same parameters give the same values on the same kind of device.

    Returns
    -------
    Tensor
        ``channels_MSHW``, float32.
    """
    channels_MSHW = brightened(channels_of(moved(volume_SHW, spec, drawn), spec), drawn.brightness)
    return noisy(channels_MSHW, drawn.noise_variance, drawn.noise_seed)
