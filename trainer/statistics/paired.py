"""Two models on the same studies: every finding by DeLong's test with q-values, and the mean by bootstrap.

Legend: N studies, C findings.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.operating_points import MIN_CASES, TOO_FEW
from trainer.statistics.bootstrap import BootstrapSettings, MeanDifference, paired_bootstrap
from trainer.statistics.delong import PairedAuc, paired_auc
from trainer.statistics.intervals import Interval
from trainer.statistics.multiplicity import benjamini_hochberg


@dataclass(frozen=True)
class FindingDifference:
    """One finding; `auc` is None with the note ``too few`` below the number of cases.

    Attributes
    ----------
    q
        DeLong's p after Benjamini and Hochberg, over the findings that were tested.
    """

    key: str
    n_pos: int
    n_neg: int
    auc: PairedAuc | None
    q: float | None
    note: str

    @property
    def interval(self) -> Interval | None:
        """The interval of the difference."""
        return None if self.auc is None else self.auc.interval

    def to_json(self) -> dict[str, Any]:
        """Return plain values; all names are there, None where there is no value."""
        auc, interval = self.auc, self.interval
        return {
            "n_pos": self.n_pos,
            "n_neg": self.n_neg,
            "first_auc": None if auc is None else auc.first,
            "second_auc": None if auc is None else auc.second,
            "difference": None if auc is None else auc.difference,
            "difference_low": None if interval is None else interval.low,
            "difference_high": None if interval is None else interval.high,
            "p": None if auc is None else auc.p,
            "q": self.q,
            "note": self.note,
        }


@dataclass(frozen=True)
class PairedComparison:
    """All findings, and the mean over those with enough cases; None where the bootstrap has too few patients."""

    findings: tuple[FindingDifference, ...]
    mean: MeanDifference | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the findings by key."""
        return {
            "test": "paired DeLong per finding, q by Benjamini-Hochberg; paired bootstrap over patients of the mean",
            "mean": None if self.mean is None else asdict(self.mean),
            "findings": {item.key: item.to_json() for item in self.findings},
        }


def compare_scores(
    keys: Sequence[str],
    labels_NC: NDArray[np.int8],
    first_NC: NDArray[np.floating],
    second_NC: NDArray[np.floating],
    groups: Sequence[Hashable],
    settings: BootstrapSettings = BootstrapSettings(),
    min_cases: int = MIN_CASES,
) -> PairedComparison:
    """Compare two models that scored the same studies; differences are second minus first.

    Parameters
    ----------
    keys
        C finding keys.
    labels_NC, first_NC, second_NC
        Labels (1, 0, -1 unknown, which does not count) and the two models' scores.
    groups
        The patient of each study, drawn as one in the bootstrap.
    min_cases
        Below this number of positives or negatives a finding is not compared, and not in the mean.
    """
    n_pos_C, n_neg_C = (labels_NC == 1).sum(axis=0), (labels_NC == 0).sum(axis=0)
    enough = np.flatnonzero(np.minimum(n_pos_C, n_neg_C) >= max(min_cases, 1))
    aucs = {int(c): paired_auc(labels_NC[:, c], first_NC[:, c], second_NC[:, c]) for c in enough}
    tested = [aucs.get(column) for column in range(len(keys))]
    q_values = benjamini_hochberg([None if item is None else item.p for item in tested])
    findings = tuple(
        FindingDifference(key, int(n_pos), int(n_neg), auc, q, TOO_FEW if auc is None else "")
        for key, n_pos, n_neg, auc, q in zip(keys, n_pos_C, n_neg_C, tested, q_values, strict=True)
    )
    return PairedComparison(
        findings,
        paired_bootstrap(labels_NC[:, enough], first_NC[:, enough], second_NC[:, enough], groups, settings),
    )
