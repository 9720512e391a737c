"""Are the values of a series Hounsfield units? Tags first; where they leave doubt, a few slices are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.dicom.archive import Opener
from engine.dicom.found import Found
from engine.dicom.frames import stored_frames
from engine.dicom.rescale import clean_value
from engine.dicom.series import Reason
from engine.errors import DicomError

AIR_HU = (-1200.0, -800.0)
LEAST_AIR = 0.002
N_SAMPLES = 3
_HU_TYPES = frozenset(("", "HU", "HU_MOD"))


def judge_units(slices: Sequence[Found]) -> tuple[bool, Reason | None]:
    """Decide whether a series is in Hounsfield units.

    Parameters
    ----------
    slices
        Of one CT series, in slice order.

    Returns
    -------
    tuple
        Whether its values are HU, and the scope reason if not.
    """
    first = slices[0]
    if not first.instance.has_rescale:
        return False, Reason(
            "scope.no_rescale",
            "RescaleSlope is missing or 0, or RescaleIntercept is missing, so the values are not Hounsfield units; "
            "the classifier needs those.",
        )
    if first.instance.intercept < 0 and first.rescale_type.upper() in _HU_TYPES:
        return True, None
    picks = sampled_slices(len(slices))
    try:
        samples = sample_values([slices[index] for index in picks])
    except DicomError as error:
        return False, Reason(error.code, f"The values could not be checked. {error.message}")
    if has_air(samples):
        return True, None
    seen = f"In the {len(picks)} slices that were looked at (of {len(slices)})"
    if not samples.size:
        return False, Reason("scope.not_hu", f"{seen} there is nothing but padding; no value tells of HU.")
    values = float(samples.min()), float(samples.max())
    return False, not_hu(*values, f"with intercept {first.instance.intercept:g}", f"{seen} the values")


def not_hu(low: float, high: float, how: str, what: str = "The values") -> Reason:
    """Word the scope reason for values that are not Hounsfield units; `what` says which values were looked at."""
    return Reason(
        "scope.not_hu",
        f"{what} run from {low:g} to {high:g} {how} and hold no air near −1000: they are not Hounsfield units, "
        "which the classifier needs. Load the series as the scanner wrote it.",
    )


def sampled_slices(n_slices: int) -> list[int]:
    """Return the indices of a few slices spread over a series."""
    return sorted({round(i) for i in np.linspace(0, n_slices - 1, N_SAMPLES + 2)[1:-1]})


def has_air(values_hu: NDArray[np.floating]) -> bool:
    """Whether some of the values (padding left out) are those of air, as around every head."""
    if values_hu.size == 0:
        return False
    return bool(np.mean((values_hu > AIR_HU[0]) & (values_hu < AIR_HU[1])) >= LEAST_AIR)


def sample_values(slices: Sequence[Found]) -> NDArray[np.floating]:
    """Return the rescaled values of these slices, padding left out, shape (N,)."""
    values: list[NDArray[np.floating]] = []
    with Opener() as opener:
        for instance in (one.instance for one in slices):
            stored = next(iter(stored_frames(opener, instance.source, [instance])))
            if instance.padding_value is not None and instance.layout is not None:
                stored = stored[stored != clean_value(instance.padding_value, instance.layout)]
            values.append(stored.astype(np.float32).ravel() * instance.slope + instance.intercept)
    return np.concatenate(values)
