"""Actions on the findings panel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol

from app.viewmodels.finding_filters import FILTERS, FilterKey
from app.views.commands.base import Command

ORDER = 50


class FindingsTarget(Protocol):
    """What the window offers to this area."""

    def focus_search(self) -> None:
        """Go to the search box."""

    def select_finding(self, step: int) -> None:
        """Select the next or previous finding."""

    def select_unreviewed(self) -> None:
        """Select the next finding on which nothing is stated."""

    def toggle_filter(self, key: FilterKey) -> None:
        """Switch a filter on or off."""

    def is_filtered(self, key: FilterKey) -> bool:
        """Say whether a filter is on."""

    def can_filter(self, key: FilterKey) -> bool:
        """Say whether a filter can be used."""

    def clear_filters(self) -> None:
        """Show all findings again."""

    def next_order(self) -> None:
        """Take the next order."""

    def toggle_density(self) -> None:
        """Show as many findings as possible, or fewer comfortably."""

    def is_compact(self) -> bool:
        """Say whether the list is compact."""

    def accept_rest(self) -> None:
        """Ask whether all that is not reviewed is absent."""

    def can_accept_rest(self) -> bool:
        """Say whether a series is open and something of it is not reviewed."""

    def open_impression(self) -> None:
        """Open the draft impression."""


def commands(target: FindingsTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    rest = "After a confirmation, state absent what is not reviewed and the model does not call present; undone as one"
    draft = "A text from what was stated, to edit, copy and save; no model numbers in it"
    back, on = partial(target.select_finding, -1), partial(target.select_finding, 1)
    return (
        Command("search", "Search findings", ("Ctrl+F",), "Labels and synonyms", "Findings", target.focus_search),
        Command("next_finding", "Next finding", ("N",), "↓ in the list", "Findings", on),
        Command("previous_finding", "Previous finding", ("Shift+N",), "↑ in the list", "Findings", back),
        Command(
            "next_unreviewed",
            "Next unreviewed finding",
            ("Alt+N",),
            "The next listed one on which nothing is stated; from the top after the last",
            "Findings",
            target.select_unreviewed,
        ),
        *_filters(target),
        Command("order", "Next order", ("Alt+O",), "By category, urgency or value", "Findings", target.next_order),
        Command(
            "density",
            "Compact list",
            ("Alt+D",),
            "As many findings at once as fit",
            "Findings",
            target.toggle_density,
            is_on=target.is_compact,
        ),
        Command(
            "rest_absent",
            "State the rest absent…",
            ("Ctrl+Shift+A",),
            rest,
            "Findings",
            target.accept_rest,
            enabled=target.can_accept_rest,
        ),
        Command("impression", "Draft impression…", ("Ctrl+I",), draft, "Findings", target.open_impression),
    )


def _filters(target: FindingsTarget) -> Iterator[Command]:
    for number, item in enumerate(FILTERS.values(), 1):
        yield Command(
            f"filter_{item.key}",
            f"Show only: {item.label.lower()}",
            (f"Alt+{number}",),
            item.help,
            "Findings",
            partial(target.toggle_filter, item.key),
            enabled=partial(target.can_filter, item.key),
            is_on=partial(target.is_filtered, item.key),
        )
    yield Command(
        "clear_filters",
        "Show all findings",
        ("Alt+0",),
        "Switches all filters off and empties the search",
        "Findings",
        target.clear_filters,
    )
