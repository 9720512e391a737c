"""Why this finding: ledger, attention and router on one axis of prepared slices, linked to the viewer.

The axis is the prepared slices, caudal to cranial. `Analysis.acquired_weights` maps it to the acquired slices, both
ways. Attention is one distribution shared by all findings, so it is never presented as evidence for one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from app.viewmodels.status import AnalysisStatus
from engine.analysis import Analysis

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EvidenceView:
    """All that the strip draws for one finding of one analysis.

    Attributes
    ----------
    frozen_S, experts_SK
        Contributions to the logit: float32 (S,) of the frozen path, (S, K) of the experts; log-odds.
    attention_S
        Attention weights, shared by all findings; they sum to 1.
    gates_SK
        The router's weights; each row sums to 1.
    acquired
        For every prepared slice, the indices of the acquired slices under it, most voxels first.
    """

    key: str
    label: str
    logit: float
    bias: float
    frozen_S: FloatArray
    experts_SK: FloatArray
    attention_S: FloatArray
    gates_SK: FloatArray
    positions_mm: FloatArray
    acquired: tuple[tuple[int, ...], ...]

    @cached_property
    def net_S(self) -> FloatArray:
        """Contribution of every slice: frozen path plus experts."""
        return np.asarray(self.frozen_S + self.experts_SK.sum(axis=1), dtype=np.float32)

    @property
    def n_slices(self) -> int:
        """Number of prepared slices."""
        return len(self.attention_S)

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return self.gates_SK.shape[1]

    @property
    def strongest_for(self) -> int | None:
        """The prepared slice that pushed the logit up most; None if none did."""
        best = int(np.argmax(self.net_S))
        return best if self.net_S[best] > 0 else None

    @property
    def strongest_against(self) -> int | None:
        """The prepared slice that pushed the logit down most; None if none did."""
        best = int(np.argmin(self.net_S))
        return best if self.net_S[best] < 0 else None

    def acquired_text(self, prepared: int) -> str:
        """Name the acquired slices under a prepared one, counted from 1, such as ``acquired 14–16, 18``."""
        numbers = sorted(index + 1 for index in self.acquired[prepared])
        return "no acquired slice" if not numbers else f"acquired {_ranges(numbers)}"

    @property
    def sentence(self) -> str:
        """What is seen, in one plain line."""
        total = f"Ledger sums to logit {self.logit:+.2f} (bias {self.bias:+.2f})."
        best = self.strongest_for
        if best is None:
            return f"{total} No slice pushed it up."
        return f"{total} Most upward: {self.net_S[best]:+.2f}, prepared slice {best + 1} ({self.acquired_text(best)})."

    def slice_text(self, prepared: int) -> str:
        """Return all numbers of one prepared slice, a line each, for a tooltip."""
        experts = "  ".join(f"E{k + 1} {value:+.3f}" for k, value in enumerate(self.experts_SK[prepared]))
        gates = "  ".join(f"E{k + 1} {value:.2f}" for k, value in enumerate(self.gates_SK[prepared]))
        return "\n".join(
            (
                f"Prepared slice {prepared + 1} of {self.n_slices} ({self.acquired_text(prepared)}), "
                f"{self.positions_mm[prepared]:.0f} mm",
                f"Ledger {self.net_S[prepared]:+.3f} log-odds = frozen {self.frozen_S[prepared]:+.3f}, {experts}",
                f"Attention {self.attention_S[prepared]:.3f} (shared by all findings)",
                f"Gate weights {gates}",
            )
        )


class EvidenceModel:
    """The evidence of the selected finding, and the cursor that runs with the viewer."""

    view_changed = Signal()
    cursor_changed = Signal(object)
    jump_requested = Signal(int)
    split_changed = Signal(bool)

    def __init__(self) -> None:
        self._analysis: Analysis | None = None
        self._selected: str | None = None
        self._status = AnalysisStatus()
        self._acquired_index: int | None = None
        self._split = False
        self._view: EvidenceView | None = None
        self._acquired: tuple[tuple[int, ...], ...] = ()

    def set_analysis(self, analysis: Analysis | None) -> None:
        """Take the analysis whose ledger is shown; None empties the strip (say why by `set_status`)."""
        self._analysis = analysis
        self._acquired = () if analysis is None else _acquired_under(analysis.acquired_weights)
        if analysis is not None:
            self._status = AnalysisStatus("analysed")
        self._rebuild()

    def set_status(self, status: AnalysisStatus) -> None:
        """Say why there is nothing to show."""
        self._status = status
        self.view_changed.emit()

    @property
    def selected_key(self) -> str | None:
        """Key of the finding whose ledger is shown."""
        return self._selected

    @selected_key.setter
    def selected_key(self, key: str | None) -> None:
        if key != self._selected:
            self._selected = key
            self._rebuild()

    @property
    def view(self) -> EvidenceView | None:
        """What to draw; None when there is nothing, and `empty_text` says why."""
        return self._view

    @property
    def empty_text(self) -> str:
        """Why nothing is drawn."""
        if self._analysis is None:
            return self._status.text
        if self._selected is None:
            return "Select a finding to see what drove it."
        return "Not covered by this model: it makes no statement on this finding, so there is nothing to explain."

    @property
    def split(self) -> bool:
        """Whether bars are split into frozen path and experts."""
        return self._split

    @split.setter
    def split(self, split: bool) -> None:
        if split != self._split:
            self._split = split
            self.split_changed.emit(split)

    # -- the link with the viewer -------------------------------------------------------------------------------

    @property
    def cursor(self) -> float | None:
        """Place of the viewer's slice on the axis: a fractional prepared index, or None if it is not on it."""
        if self._analysis is None or self._acquired_index is None:
            return None
        return prepared_place(self._analysis.acquired_weights, self._acquired_index)

    def set_acquired_index(self, index: int | None) -> None:
        """Follow the viewer to this acquired slice."""
        if index != self._acquired_index:
            self._acquired_index = index
            self.cursor_changed.emit(self.cursor)

    def jump_to(self, prepared: int) -> None:
        """Ask the viewer for the acquired slice with most voxels in this prepared slice (or the nearest one's)."""
        covered = [index for index, acquired in enumerate(self._acquired) if acquired]
        if not covered:
            return
        nearest = min(covered, key=lambda index: abs(index - prepared))
        self.jump_requested.emit(self._acquired[nearest][0])

    def walk(self, steps: int) -> None:
        """Ask the viewer for the acquired slice so many steps cranial of the one it shows; stops at the ends."""
        if self._analysis is None or self._acquired_index is None:
            return
        last = self._analysis.acquired_weights.shape[1] - 1
        self.jump_requested.emit(min(max(self._acquired_index + steps, 0), last))

    def jump_to_strongest(self, against: bool = False) -> None:
        """Ask the viewer for the slice that pushed the logit up (or down) most."""
        if self._view is None:
            return
        best = self._view.strongest_against if against else self._view.strongest_for
        if best is not None:
            self.jump_to(best)

    def _rebuild(self) -> None:
        self._view = None if self._analysis is None or self._selected is None else self._build(self._analysis)
        self.view_changed.emit()
        self.cursor_changed.emit(self.cursor)

    def _build(self, analysis: Analysis) -> EvidenceView | None:
        ledger = analysis.ledger
        if self._selected not in ledger.keys:
            return None
        row = ledger.keys.index(self._selected)
        values = ledger.values[row]
        return EvidenceView(
            key=self._selected,
            label=analysis.finding(self._selected).label,
            logit=float(ledger.logits[row]),
            bias=float(ledger.bias[row]),
            frozen_S=values[:, 0],
            experts_SK=values[:, 1:],
            attention_S=np.array([item.attention for item in analysis.slices], dtype=np.float32),
            gates_SK=np.array([item.gate_weights for item in analysis.slices], dtype=np.float32),
            positions_mm=np.array([item.position_mm for item in analysis.slices], dtype=np.float32),
            acquired=self._acquired,
        )


def prepared_place(acquired_weights: FloatArray, acquired: int) -> float | None:
    """Return where an acquired slice lies among the prepared ones: the mean prepared index, weighted by its share.

    Parameters
    ----------
    acquired_weights
        float32 (S prepared, S acquired), as in `Analysis`.
    """
    if not 0 <= acquired < acquired_weights.shape[1]:
        return None
    shares = acquired_weights[:, acquired]
    total = float(shares.sum())
    return float(shares @ np.arange(len(shares)) / total) if total > 0 else None


def _acquired_under(acquired_weights: FloatArray) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(-acquired_weights, axis=1, kind="stable")
    return tuple(
        tuple(int(index) for index in indices if row[index] > 0)
        for row, indices in zip(acquired_weights, order, strict=True)
    )


def _ranges(numbers: list[int]) -> str:
    """Write ascending numbers with runs of three or more as ranges: ``1, 2, 4–7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(parts)
