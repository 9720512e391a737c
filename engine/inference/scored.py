"""What models said on labelled studies: the plain values that an evaluation is made of. No torch.

Legend: N studies, C findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.models.calibration import Calibration


@dataclass(frozen=True, eq=False)
class ScoredModel:
    """One model on all studies.

    Attributes
    ----------
    operating_points
        By finding key, on the scale that is shown: calibrated where the finding is, else raw.
    logits_NC
        float64, in the order of the studies and of `ScoredStudies.keys`.
    """

    name: str
    version: str
    digest: str
    notice: str
    calibration: Calibration
    operating_points: Mapping[str, float]
    logits_NC: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoredStudies:
    """Labels of studies and what one model, or two, said.

    Attributes
    ----------
    table
        The name of the table of labels, without its folder.
    keys
        The C findings that the table has and every model predicts.
    n_not_measured
        Findings of the first model that are not among `keys`.
    labels_NC
        int8: 1 present, 0 absent, -1 unknown.
    patients
        The patient of each study, to be drawn together; shown to nobody.
    attributes
        By name, such as ``scanner``, the N studies' values; empty where unknown.
    categories
        By key, the finding's category.
    n_skipped
        Rows of the table that could not be used.
    """

    table: str
    keys: tuple[str, ...]
    n_not_measured: int
    labels_NC: NDArray[np.int8]
    patients: tuple[str, ...] = field(repr=False)
    attributes: Mapping[str, tuple[str, ...]]
    categories: Mapping[str, str]
    models: tuple[ScoredModel, ...]
    n_skipped: int
