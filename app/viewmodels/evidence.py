"""Why this finding: ledger, attention and router on one axis of prepared slices, linked to the viewer.

The axis is the prepared slices, caudal to cranial. `Analysis.acquired_weights` maps it to the acquired slices, both
ways. Attention is one distribution shared by all findings, so it is never presented as evidence for one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from app.viewmodels.reading import HIDDEN_TEXT
from app.viewmodels.status import AnalysisStatus
from app.viewmodels.waterfall import Axis, Order, Waterfall, over_paths, over_slices
from app.viewmodels.what_if import WhatIf, what_if
from engine.analysis import LEDGER_TOLERANCE, Analysis, Unit
from engine.explain.usage import ExpertUsage, analysis_usage

FloatArray = NDArray[np.float32]
Tab = Literal["slices", "waterfall", "experts", "what_if", "maps", "similar"]
TABS: dict[Tab, str] = {
    "slices": "Slices",
    "waterfall": "Waterfall",
    "experts": "Experts",
    "what_if": "What if",
    "maps": "Maps",
    "similar": "Similar",
}
VOLUME_TEXT = "This model reads the whole volume at once: it has one entry, not one a slice."
NOT_COVERED = "Not covered by this model: it makes no statement on this finding, so there is nothing to explain."


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
    unit
        ``volume`` where the model reads the whole volume at once; there is then one entry, and no slice to jump to.
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
    unit: Unit = "slice"

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
        return int(self.gates_SK.shape[1])

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

    def acquired_number(self, prepared: int) -> str:
        """Name the acquired slice with most of a prepared one, which a jump goes to, counted from 1; – for none."""
        under = self.acquired[prepared]
        return str(under[0] + 1) if under else "–"

    def acquired_text(self, prepared: int) -> str:
        """Name the acquired slices under a prepared one, counted from 1, such as ``acquired 14–16, 18``."""
        numbers = sorted(index + 1 for index in self.acquired[prepared])
        return "no acquired slice" if not numbers else f"acquired {_ranges(numbers)}"

    @property
    def sentence(self) -> str:
        """What is seen, in one plain line."""
        total = f"Ledger sums to logit {self.logit:+.2f} (bias {self.bias:+.2f})."
        if self.unit == "volume":
            return f"{total} {VOLUME_TEXT}"
        best = self.strongest_for
        if best is None:
            return f"{total} No slice pushed it up."
        return f"{total} Most upward: {self.net_S[best]:+.2f}, prepared slice {best + 1} ({self.acquired_text(best)})."

    def slice_name(self, prepared: int) -> str:
        """Name a prepared slice and what lies under it, such as ``prepared slice 12 (acquired 14–16)``."""
        return f"prepared slice {prepared + 1} ({self.acquired_text(prepared)})"

    def path_name(self, path: int) -> str:
        """Name a column of the ledger: the frozen path, or an expert."""
        return "frozen path" if path == 0 else f"expert {path}"

    @cached_property
    def entries_SP(self) -> FloatArray:
        """All entries, float32 (S, 1 + K): the frozen path first."""
        return np.concatenate([self.frozen_S[:, None], self.experts_SK], axis=1)

    def slice_text(self, prepared: int) -> str:
        """Return all numbers of one prepared slice, a line each, for a tooltip."""
        experts = "  ".join(f"E{k + 1} {value:+.3f}" for k, value in enumerate(self.experts_SK[prepared]))
        gates = "  ".join(f"E{k + 1} {value:.2f}" for k, value in enumerate(self.gates_SK[prepared]))
        named = f"Prepared slice {prepared + 1} of {self.n_slices} ({self.acquired_text(prepared)})"
        lines = [
            VOLUME_TEXT if self.unit == "volume" else f"{named}, {self.positions_mm[prepared]:.0f} mm",
            f"Ledger {self.net_S[prepared]:+.3f} log-odds = frozen {self.frozen_S[prepared]:+.3f}"
            + (f", {experts}" if experts else ""),
            f"Attention {self.attention_S[prepared]:.3f} (shared by all findings)",
        ]
        return "\n".join([*lines, f"Gate weights {gates}"] if gates else lines)


class EvidenceModel:
    """The evidence of the selected finding, and the cursor that runs with the viewer."""

    view_changed = Signal()
    cursor_changed = Signal(object)
    jump_requested = Signal(int)
    split_changed = Signal(bool)
    tab_changed = Signal(str)
    order_changed = Signal()

    def __init__(self) -> None:
        self._hidden = False
        self._tab: Tab = "slices"
        self._axis: Axis = "slices"
        self._order: Order = "largest"
        self._usage: ExpertUsage | None = None
        self._shared: tuple[FloatArray, FloatArray, FloatArray] | None = None
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
        self._usage = None if analysis is None else analysis_usage(analysis)
        self._shared = None if analysis is None else _of_all_findings(analysis)
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
    def hidden(self) -> bool:
        """Whether the model's output is hidden: a blind first read."""
        return self._hidden

    def set_hidden(self, hidden: bool) -> None:
        """Hide all reasons from the reader, or show them again."""
        if hidden != self._hidden:
            self._hidden = hidden
            self._rebuild()

    @property
    def usage(self) -> ExpertUsage | None:
        """How the study's slices use the experts; None where there is nothing to show or the model has none."""
        return self._usage if self._view is not None else None

    def waterfall(self) -> Waterfall | None:
        """Return the logit as a sum from the bias, over what `axis` says, in the order of `order`."""
        if self._view is None:
            return None
        return (over_slices if self._axis == "slices" else over_paths)(self._view, self._order)

    @property
    def axis(self) -> Axis:
        """Whether the waterfall runs over slices or over the frozen path and the experts."""
        return self._axis

    @axis.setter
    def axis(self, axis: Axis) -> None:
        if axis != self._axis:
            self._axis = axis
            self.order_changed.emit()

    @property
    def order(self) -> Order:
        """Whether the waterfall starts with the largest contributions, or follows slices or experts."""
        return self._order

    @order.setter
    def order(self, order: Order) -> None:
        if order != self._order:
            self._order = order
            self.order_changed.emit()

    @property
    def tab(self) -> Tab:
        """Which of `TABS` is shown."""
        return self._tab

    @tab.setter
    def tab(self, tab: Tab) -> None:
        if tab != self._tab:
            self._tab = tab
            self.tab_changed.emit(tab)

    def what_if(self) -> WhatIf | None:
        """Return what the model would say without a slice or an expert; None where nothing may be shown."""
        if self._view is None or self._analysis is None:
            return None
        return what_if(self._analysis, self._view.key)

    @property
    def empty_text(self) -> str:
        """Why nothing is drawn."""
        if self._hidden:
            return HIDDEN_TEXT
        if self._analysis is None:
            return self._status.text
        if self._selected is None:
            return "Select a finding to see what drove it."
        if self._selected not in self._analysis.ledger.keys:
            return NOT_COVERED
        error = self._analysis.ledger.error(self._selected)
        return (
            f"The ledger misses this finding's logit by {error:.2g}, more than {LEDGER_TOLERANCE:g} allows: it does "
            "not explain the number, so nothing of it is drawn. Analyse again on the CPU."
        )

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
        if self._analysis is None or self._acquired_index is None or self.is_volume:
            return None
        return prepared_place(self._analysis.acquired_weights, self._acquired_index)

    def set_acquired_index(self, index: int | None) -> None:
        """Follow the viewer to this acquired slice."""
        if index != self._acquired_index:
            self._acquired_index = index
            self.cursor_changed.emit(self.cursor)

    def jump_to(self, prepared: int) -> None:
        """Ask the viewer for the acquired slice with most voxels in this prepared slice (or the nearest one's)."""
        if self.is_volume:
            return
        covered = [index for index, acquired in enumerate(self._acquired) if acquired]
        if not covered:
            return
        nearest = min(covered, key=lambda index: abs(index - prepared))
        self.jump_requested.emit(self._acquired[nearest][0])

    @property
    def is_volume(self) -> bool:
        """Whether the model reads the whole volume at once, so that no slice is behind an entry."""
        return self._analysis is not None and self._analysis.unit == "volume"

    @property
    def prepared_in_view(self) -> int | None:
        """The prepared slice that holds most of the acquired slice in view; None for volumes and off the axis."""
        if self._analysis is None or self._acquired_index is None or self.is_volume:
            return None
        weights = self._analysis.acquired_weights
        if not 0 <= self._acquired_index < weights.shape[1]:
            return None
        best = int(np.argmax(weights[:, self._acquired_index]))
        return best if weights[best, self._acquired_index] > 0 else None

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
        nothing = self._analysis is None or self._selected is None or self._hidden
        self._view = None if nothing or self._analysis is None else self._build(self._analysis)
        self.view_changed.emit()
        self.cursor_changed.emit(self.cursor)

    def _build(self, analysis: Analysis) -> EvidenceView | None:
        ledger = analysis.ledger
        if self._selected not in ledger.keys or not ledger.error(self._selected) < LEDGER_TOLERANCE:
            return None
        if self._shared is None:
            return None
        attention_S, gates_SK, positions_mm = self._shared
        row = ledger.keys.index(self._selected)
        values = ledger.values[row]
        return EvidenceView(
            key=self._selected,
            label=analysis.finding(self._selected).label,
            logit=float(ledger.logits[row]),
            bias=float(ledger.bias[row]),
            frozen_S=values[:, 0],
            experts_SK=values[:, 1:],
            attention_S=attention_S,
            gates_SK=gates_SK,
            positions_mm=positions_mm,
            acquired=self._acquired,
            unit=analysis.unit,
        )


def _of_all_findings(analysis: Analysis) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what every finding's view shares: attention (S,), gates (S, K) and positions (S,)."""
    return (
        np.array([item.attention for item in analysis.slices], dtype=np.float32),
        np.array([item.gate_weights for item in analysis.slices], dtype=np.float32).reshape(len(analysis.slices), -1),
        np.array([item.position_mm for item in analysis.slices], dtype=np.float32),
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
