"""A logit as a sum: from the bias over every slice, or over the frozen path and every expert, to the logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from app.viewmodels.evidence import EvidenceView

Axis = Literal["slices", "paths"]
Order = Literal["largest", "place"]


@dataclass(frozen=True)
class Step:
    """One contribution.

    Attributes
    ----------
    label
        What stands under its bar: the number of the prepared slice, or the path.
    second
        What stands below that: the first acquired slice under it; empty for a path.
    value
        Its contribution, in log-odds.
    start
        The sum before it: bias and all steps to its left.
    jump
        The prepared slice that a click asks for; None where there is none.
    text
        The contribution in words.
    """

    label: str
    second: str
    value: float
    start: float
    jump: int | None
    text: str

    @property
    def end(self) -> float:
        """The sum after it."""
        return self.start + self.value


@dataclass(frozen=True)
class Waterfall:
    """All steps of one finding's logit, in the order in which they are drawn."""

    steps: tuple[Step, ...]
    bias: float
    logit: float

    @property
    def total(self) -> float:
        """Bias and all contributions; the logit, to the ledger's tolerance."""
        return self.bias + sum(step.value for step in self.steps)

    @property
    def sentence(self) -> str:
        """The sum in one line."""
        up = sum(step.value for step in self.steps if step.value > 0)
        down = sum(step.value for step in self.steps if step.value < 0)
        return (
            f"Bias {self.bias:+.2f}, pushed up by {up:.2f}, pushed down by {-down:.2f}: "
            f"sum {self.total:+.2f}, logit {self.logit:+.2f}."
        )


def over_slices(view: EvidenceView, order: Order) -> Waterfall:
    """Return one step a prepared slice: frozen path and experts together."""

    def step(index: int, value: float, start: float) -> Step:
        second = view.acquired_number(index)
        if view.unit == "volume":
            return Step("volume", "", value, start, None, f"Whole volume: {value:+.3f} log-odds")
        name = view.slice_name(index)
        return Step(str(index + 1), second, value, start, index, f"{name[0].upper()}{name[1:]}: {value:+.3f} log-odds")

    return _waterfall(view, view.net_S, order, step)


def over_paths(view: EvidenceView, order: Order) -> Waterfall:
    """Return one step a path, summed over all slices; its jump is the slice that pushed most of it that way."""
    entries_SP = view.entries_SP

    def step(path: int, value: float, start: float) -> Step:
        best = int(np.argmax(entries_SP[:, path] * (1.0 if value >= 0 else -1.0)))
        name = view.path_name(path)
        text = f"{name[0].upper()}{name[1:]}, all slices together: {value:+.3f} log-odds"
        if view.unit == "volume":
            return Step("Frozen" if path == 0 else f"E{path}", "", value, start, None, text)
        most = f"{text}\nMost of it: {entries_SP[best, path]:+.3f}, {view.slice_name(best)}"
        return Step("Frozen" if path == 0 else f"E{path}", "", value, start, best, most)

    return _waterfall(view, entries_SP.sum(axis=0), order, step)


def _waterfall(
    view: EvidenceView, values: NDArray[np.float32], order: Order, step: Callable[[int, float, float], Step]
) -> Waterfall:
    places = np.argsort(-np.abs(values), kind="stable") if order == "largest" else np.arange(len(values))
    steps: list[Step] = []
    total = view.bias
    for place in places:
        steps.append(step(int(place), float(values[place]), total))
        total += float(values[place])
    return Waterfall(tuple(steps), view.bias, view.logit)
