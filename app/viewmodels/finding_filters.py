"""The filters of the findings panel. Those that are on must all let a finding pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from app.viewmodels.finding_row import UNCERTAIN_RULE, FindingRow

FilterKey = Literal["positive", "uncertain", "urgent", "not_reviewed", "covered"]


@dataclass(frozen=True)
class FindingFilter:
    """One filter; `needs_model` is one that asks what the model said, and cannot be used where that is not shown."""

    key: FilterKey
    label: str
    help: str
    passes: Callable[[FindingRow], bool]
    needs_model: bool = False


FILTERS: dict[FilterKey, FindingFilter] = {
    item.key: item
    for item in (
        FindingFilter("positive", "Positive", "The model calls it present", lambda row: row.positive is True, True),
        FindingFilter("uncertain", "Uncertain", f"The value lies {UNCERTAIN_RULE}", lambda row: row.uncertain, True),
        FindingFilter("urgent", "Urgent", "Critical or urgent in the catalogue", lambda row: row.urgent),
        FindingFilter("not_reviewed", "Unreviewed", "Nothing stated on it yet", lambda row: row.feedback is None),
        FindingFilter("covered", "Covered", "The model makes a statement on it", lambda row: row.covered, True),
    )
}
