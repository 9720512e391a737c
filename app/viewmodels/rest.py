"""The rest: what nobody has stated anything on yet, as the reader is asked to state it absent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from app.viewmodels.finding_row import FindingRow
from engine.findings.catalogue import URGENCY_ORDER, Urgency


@dataclass(frozen=True)
class RestPlan:
    """What would be stated absent.

    Attributes
    ----------
    rest
        Not reviewed, and not called present by the model: all of it would be stated absent.
    called_present
        Not reviewed, but called present by the model: left out, unless the reader names them one by one.
    hidden
        Whether the model's output is hidden, so that `called_present` cannot be known here.
    """

    rest: tuple[FindingRow, ...]
    called_present: tuple[FindingRow, ...]
    hidden: bool = False

    @property
    def uncertain(self) -> tuple[FindingRow, ...]:
        """Those of the rest whose value lies near the operating point."""
        return tuple(row for row in self.rest if row.uncertain)

    def chosen(self, named: Collection[str] = ()) -> tuple[FindingRow, ...]:
        """Return what is stated absent, with those called present that the reader named."""
        return (*self.rest, *(row for row in self.called_present if row.key in named))

    def keys(self, named: Collection[str] = ()) -> tuple[str, ...]:
        """Return the keys of `chosen`."""
        return tuple(row.key for row in self.chosen(named))

    def counts(self, named: Collection[str] = ()) -> Mapping[Urgency, int]:
        """Return how many of `chosen` there are, by urgency, the most urgent first."""
        chosen = self.chosen(named)
        return {urgency: sum(row.finding.urgency == urgency for row in chosen) for urgency in URGENCY_ORDER}


def plan_rest(rows: Iterable[FindingRow], hidden: bool) -> RestPlan:
    """Part what is not reviewed into what is stated absent and what the model calls present; filters do not count."""
    left = sorted((row for row in rows if row.feedback is None), key=lambda row: URGENCY_ORDER[row.finding.urgency])
    return RestPlan(
        tuple(row for row in left if row.positive is not True),
        tuple(row for row in left if row.positive is True),
        hidden,
    )
