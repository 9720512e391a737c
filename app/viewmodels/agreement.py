"""How far readers agree, and where they do not."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal

from app.viewmodels.statements import ANSWER_LABELS, Answer
from engine.agreement import Agreement

FEW_ITEMS = 20


@dataclass(frozen=True)
class ReaderAnswer:
    """What one reader states on a finding."""

    reader: str
    answer: Answer
    comment: str = ""


@dataclass(frozen=True)
class Disagreement:
    """A finding of a series on which readers differ; `consensus` is what was adjudicated."""

    series_uid: str
    finding_key: str
    finding_label: str
    study_text: str
    answers: tuple[ReaderAnswer, ...]
    consensus: ReaderAnswer | None = None

    @property
    def answers_text(self) -> str:
        """All answers in a line."""
        return "  ·  ".join(f"{item.reader}: {ANSWER_LABELS[item.answer].lower()}" for item in self.answers)


@dataclass(frozen=True)
class AgreementReport:
    """What the dialog shows; `n_hidden` series are left out because the reader still reads them blind."""

    agreement: Agreement
    disagreements: tuple[Disagreement, ...]
    n_items: int
    n_hidden: int
    blind_only: bool
    unsure_counts: bool


class AgreementModel:
    """The newest report; None until one was asked for."""

    changed = Signal()

    def __init__(self) -> None:
        self.report: AgreementReport | None = None

    def show(self, report: AgreementReport | None) -> None:
        """Replace the report."""
        self.report = report
        self.changed.emit()


def number_text(value: float | None, n_items: int) -> str:
    """Return a coefficient, and why it cannot be relied on or is none."""
    if n_items == 0:
        return "none: no common items"
    if value is None:
        return "undefined: one answer only"
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}") + (", too few items" if n_items < FEW_ITEMS else "")


def items_text(n_items: int) -> str:
    """Count items in words."""
    return f"{n_items} item{'' if n_items == 1 else 's'}"
