"""Which experts a model uses: of one study, and of a cohort, so that a collapsed router is seen. No torch.

Legend: S slice, K expert, C finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.analysis import Analysis

COLLAPSED_BELOW = 0.5
COLLAPSE_RULE = f"normalised entropy of the mean gates below {COLLAPSED_BELOW:g}"
UNDECIDED_FROM = 0.99


@dataclass(frozen=True, eq=False)
class ExpertUsage:
    """How much each expert is used.

    Attributes
    ----------
    keys
        C finding keys.
    n_studies, n_slices
        What was measured; every study counts the same, every slice of a study too.
    mean_gates
        float64 (K,): the mean gate of every expert; they sum to 1.
    mean_gate_entropy
        Entropy of `mean_gates` over log K: 1 where all experts are used alike, 0 where only one is.
    mean_slice_entropy
        Mean over slices of the entropy of the slice's gates over log K: near 1 the router hardly chooses, near 0 it
        sends each slice to one expert.
    ledger_share
        float64 (C, 1 + K): each path's share of the absolute contributions in the exact ledger, summed over slices;
        column 0 is the frozen path. Rows sum to 1; a row without any contribution is 0.
    """

    keys: tuple[str, ...]
    n_studies: int
    n_slices: int
    mean_gates: NDArray[np.float64]
    mean_gate_entropy: float
    mean_slice_entropy: float
    ledger_share: NDArray[np.float64]

    @property
    def collapsed(self) -> bool:
        """Whether few of several experts are used; see `COLLAPSE_RULE`. One expert alone cannot collapse."""
        return self.mean_gates.size > 1 and self.mean_gate_entropy < COLLAPSED_BELOW

    @property
    def undecided(self) -> bool:
        """Whether the router gives every slice nearly the same mixture of all experts."""
        return self.mean_gates.size > 1 and self.mean_slice_entropy >= UNDECIDED_FROM

    def to_json(self) -> dict[str, Any]:
        """Return plain values; shares by finding key."""
        return {
            "n_studies": self.n_studies,
            "n_slices": self.n_slices,
            "mean_gates": self.mean_gates.tolist(),
            "mean_gate_entropy": self.mean_gate_entropy,
            "mean_slice_entropy": self.mean_slice_entropy,
            "collapsed": self.collapsed,
            "collapse_rule": COLLAPSE_RULE,
            "ledger_share_columns": ["frozen", *(f"expert_{index + 1}" for index in range(self.mean_gates.size))],
            "ledger_share": {key: row.tolist() for key, row in zip(self.keys, self.ledger_share, strict=True)},
        }

    def markdown(self, description: str) -> str:
        """Return the section of a model card; `description` says which studies, such as ``held-out phantoms``."""
        lines = ["| path | mean gate | share of the ledger |", "| --- | --- | --- |"]
        shares = self.ledger_share.mean(axis=0)
        lines.append(f"| frozen | | {shares[0]:.3f} |")
        lines += [
            f"| expert {index + 1} | {gate:.3f} | {shares[index + 1]:.3f} |"
            for index, gate in enumerate(self.mean_gates)
        ]
        return "\n".join(["## Expert usage", f"On {self.n_studies} {description}. {self.verdict}", "", *lines, ""])

    @property
    def verdict(self) -> str:
        """The entropies in a sentence, and what they mean."""
        numbers = (
            f"Normalised entropy {self.mean_gate_entropy:.3f} of the mean gates, "
            f"{self.mean_slice_entropy:.3f} per slice in the mean."
        )
        if self.collapsed:
            return f"{numbers} **Collapsed** ({COLLAPSE_RULE}): the model uses few of its experts."
        if self.undecided:
            return f"{numbers} Not collapsed, but the router hardly chooses: every slice gets nearly the same mixture."
        return f"{numbers} Not collapsed ({COLLAPSE_RULE})."


def study_usage(
    keys: Sequence[str], gates_SK: NDArray[np.floating], ledger_CSK: NDArray[np.floating]
) -> ExpertUsage | None:
    """Measure one study; None for a model without experts.

    Parameters
    ----------
    keys
        C finding keys.
    gates_SK
        float (S, K): the router's weights; rows sum to 1.
    ledger_CSK
        float (C, S, 1 + K): the exact ledger, column 0 the frozen path.
    """
    n_slices, n_experts = gates_SK.shape
    if n_experts == 0:
        return None
    mean_gates = gates_SK.astype(np.float64).mean(axis=0)
    return ExpertUsage(
        keys=tuple(keys),
        n_studies=1,
        n_slices=n_slices,
        mean_gates=mean_gates,
        mean_gate_entropy=float(normalised_entropy(mean_gates)),
        mean_slice_entropy=float(normalised_entropy(gates_SK).mean()),
        ledger_share=_shares(np.abs(ledger_CSK.astype(np.float64)).sum(axis=1)),
    )


def analysis_usage(analysis: Analysis) -> ExpertUsage | None:
    """Measure the study of an analysis; None for a model without experts."""
    gates_SK = np.array([item.gate_weights for item in analysis.slices], dtype=np.float64)
    return study_usage(analysis.ledger.keys, gates_SK, analysis.ledger.values)


def cohort_usage(studies: Sequence[ExpertUsage]) -> ExpertUsage | None:
    """Average studies of one model, each counting the same; None if there are none."""
    if not studies:
        return None
    mean_gates = np.mean([study.mean_gates for study in studies], axis=0)
    return ExpertUsage(
        keys=studies[0].keys,
        n_studies=sum(study.n_studies for study in studies),
        n_slices=sum(study.n_slices for study in studies),
        mean_gates=mean_gates,
        mean_gate_entropy=float(normalised_entropy(mean_gates)),
        mean_slice_entropy=float(np.mean([study.mean_slice_entropy for study in studies])),
        ledger_share=_shares(np.mean([study.ledger_share for study in studies], axis=0)),
    )


def normalised_entropy(gates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return −Σ g log g / log K over the last axis, float64; 1 for a single expert, which has nothing to choose."""
    values = gates.astype(np.float64)
    if values.shape[-1] == 1:
        return np.ones(values.shape[:-1])
    # 0 log 0 is 0.
    terms = values * np.log(np.where(values > 0, values, 1.0))
    return np.asarray(np.maximum(0.0, -terms.sum(axis=-1) / math.log(values.shape[-1])))


def _shares(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide rows by their sums; a row of zeros stays one."""
    totals = amounts.sum(axis=1, keepdims=True)
    return amounts / np.where(totals > 0, totals, 1.0)
