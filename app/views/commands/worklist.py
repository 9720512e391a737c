"""Actions on the worklist, the queue of analyses and the watched folder."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.views.commands.base import Command

ORDER = 20


class WorklistTarget(Protocol):
    """What the window offers to this area."""

    def toggle_worklist(self) -> None:
        """Show or hide the worklist."""

    def toggle_table(self) -> None:
        """Show the worklist as a table, or the viewer again."""

    def is_table(self) -> bool:
        """Say whether the table is shown."""

    def select_study(self, step: int) -> None:
        """Open the next or previous study."""

    def select_next_unreviewed(self) -> None:
        """Open the most pressing study that nobody has reviewed."""

    def focus_search(self) -> None:
        """Go to the search box."""

    def toggle_filters(self) -> None:
        """Show or hide the filters."""

    def clear_filter(self) -> None:
        """Show every study."""

    def is_narrowed(self) -> bool:
        """Say whether a filter or a search narrows the list."""

    def open_sort_menu(self) -> None:
        """Choose the order."""

    def save_filter(self) -> None:
        """Ask for the name of a filter to be saved."""

    def toggle_queue(self) -> None:
        """Show or hide the queue's rows."""

    def queue_listed(self) -> None:
        """Queue every new study of the list."""

    def pause_queue(self) -> None:
        """Begin nothing new, or go on."""

    def is_paused(self) -> bool:
        """Say whether the queue is paused."""

    def has_queued(self) -> bool:
        """Say whether a row of the queue is selected."""

    def move_queued(self, step: int) -> None:
        """Let the selected series wait one place earlier or later."""

    def retry_queued(self) -> None:
        """Let the selected series wait again."""

    def cancel_queued(self) -> None:
        """Take the selected series out of the queue."""

    def open_watch(self) -> None:
        """Open the setting of the watched folder."""

    def toggle_watch(self) -> None:
        """Stop watching, or go on."""

    def has_watch(self) -> bool:
        """Say whether a folder was chosen."""

    def is_watching(self) -> bool:
        """Say whether a folder is watched."""


def commands(target: WorklistTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (*_list(target), *_narrow(target), *_queue(target), *_watch(target))


def _list(target: WorklistTarget) -> tuple[Command, ...]:
    return (
        Command(
            "studies", "Worklist", ("L",), "Show or hide the worklist on the left", "Worklist", target.toggle_worklist
        ),
        Command(
            "worklist_table",
            "Worklist as a table",
            ("Shift+L",),
            "Over the whole window, columns sort; again for the viewer",
            "Worklist",
            target.toggle_table,
            is_on=target.is_table,
        ),
        Command("next_study", "Next study", ("Ctrl+Down",), "", "Worklist", partial(target.select_study, 1)),
        Command("previous_study", "Previous study", ("Ctrl+Up",), "", "Worklist", partial(target.select_study, -1)),
        Command(
            "next_unreviewed_study",
            "Next unreviewed study",
            ("Ctrl+N",),
            "The most urgent one of the list that nobody has reviewed and that was not offered before",
            "Worklist",
            target.select_next_unreviewed,
        ),
    )


def _narrow(target: WorklistTarget) -> tuple[Command, ...]:
    return (
        Command(
            "worklist_search",
            "Search studies",
            ("Ctrl+L",),
            "Words in patient, ID, study and series",
            "Worklist",
            target.focus_search,
        ),
        Command(
            "worklist_filters",
            "Filters",
            ("Ctrl+Shift+F",),
            "Urgency, positive findings, dates, saved filters",
            "Worklist",
            target.toggle_filters,
        ),
        Command(
            "clear_filter",
            "Clear the filter",
            ("Ctrl+Shift+L",),
            "Show every study",
            "Worklist",
            target.clear_filter,
            enabled=target.is_narrowed,
        ),
        Command(
            "save_filter",
            "Save the filter…",
            ("Ctrl+Alt+S",),
            "Search, filter and order under a name",
            "Worklist",
            target.save_filter,
            enabled=target.is_narrowed,
        ),
        Command(
            "worklist_sort",
            "Sort…",
            ("Ctrl+Alt+L",),
            "By urgency, date, patient, description, state or time of import",
            "Worklist",
            target.open_sort_menu,
        ),
    )


def _queue(target: WorklistTarget) -> tuple[Command, ...]:
    selected = target.has_queued
    return (
        Command("queue", "Queue of analyses", ("Ctrl+K",), "Show or hide its rows", "Worklist", target.toggle_queue),
        Command(
            "queue_listed",
            "Queue all new studies listed",
            ("Ctrl+Alt+K",),
            "Analyse in the background what the list shows and no model has analysed",
            "Worklist",
            target.queue_listed,
        ),
        Command(
            "queue_pause",
            "Pause the queue",
            ("Ctrl+Shift+K",),
            "Begin no further analysis; again to go on",
            "Worklist",
            target.pause_queue,
            is_on=target.is_paused,
        ),
        Command(
            "queue_up",
            "Analyse earlier",
            ("Alt+Up",),
            "Move the selected row of the queue",
            "Worklist",
            partial(target.move_queued, -1),
            enabled=selected,
        ),
        Command(
            "queue_down",
            "Analyse later",
            ("Alt+Down",),
            "Move the selected row of the queue",
            "Worklist",
            partial(target.move_queued, 1),
            enabled=selected,
        ),
        Command(
            "queue_retry",
            "Retry analysis",
            ("Alt+R",),
            "Let the selected row of the queue wait again",
            "Worklist",
            target.retry_queued,
            enabled=selected,
        ),
        Command(
            "queue_cancel",
            "Take out of the queue",
            ("Alt+Del",),
            "The selected row; what runs is stopped",
            "Worklist",
            target.cancel_queued,
            enabled=selected,
        ),
    )


def _watch(target: WorklistTarget) -> tuple[Command, ...]:
    return (
        Command(
            "watch",
            "Watch folder…",
            ("Ctrl+Shift+W",),
            "Import what arrives in a folder",
            "Worklist",
            target.open_watch,
        ),
        Command(
            "watch_on",
            "Watch the folder",
            ("Alt+W",),
            "Stop watching, or go on",
            "Worklist",
            target.toggle_watch,
            enabled=target.has_watch,
            is_on=target.is_watching,
        ),
    )
