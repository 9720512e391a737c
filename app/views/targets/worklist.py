"""What the actions on the worklist, the queue and the watched folder do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.views.dialogs.watch import WatchDialog
from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance


class WorklistCommands(Target):
    """Implements `WorklistTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Other rows, another filter, another queue, or another row of it selected."""
        worklist, queue = self._models.worklist, self._models.queue
        signals = (worklist.query_changed, worklist.status_changed, worklist.table_changed, self._models.watch.changed)
        return (*signals, queue.changed, queue.selected_changed)

    # The list

    def toggle_worklist(self) -> None:
        """Show or hide the worklist."""
        if self._models.worklist.as_table:
            self._models.worklist.as_table = False
        self._window.worklist_panel.setVisible(self._window.worklist_panel.isHidden())

    def toggle_table(self) -> None:
        """Show the worklist as a table over the window, or the viewer again."""
        self._models.worklist.as_table = not self._models.worklist.as_table

    def is_table(self) -> bool:
        """Say whether the table is shown."""
        return self._models.worklist.as_table

    def select_study(self, step: int) -> None:
        """Open the next or previous study."""
        self._actions.worklist.select_study(step)

    def select_next_unreviewed(self) -> None:
        """Open the most pressing study that nobody has reviewed."""
        self._actions.worklist.select_next_unreviewed()

    def focus_search(self) -> None:
        """Go to the search box."""
        self._window.worklist_panel.show()
        self._window.worklist_panel.focus_search()

    def toggle_filters(self) -> None:
        """Show or hide the filters."""
        self._window.worklist_panel.show()
        self._window.worklist_panel.toggle_filters()

    def clear_filter(self) -> None:
        """Show every study."""
        self._models.worklist.clear_filter()

    def is_narrowed(self) -> bool:
        """Say whether a filter or a search narrows the list."""
        return self._models.worklist.narrowed

    def open_sort_menu(self) -> None:
        """Choose the order."""
        self._window.worklist_panel.show()
        self._window.worklist_panel.open_sort_menu()

    def save_filter(self) -> None:
        """Ask for the name of a filter to be saved."""
        self._window.worklist_panel.filters.saved.ask_name()

    # The queue

    def toggle_queue(self) -> None:
        """Show or hide the queue's rows."""
        self._window.worklist_panel.show()
        self._window.worklist_panel.queue.toggle()

    def queue_listed(self) -> None:
        """Queue every new study of the list."""
        self._actions.queue.add_listed()

    def pause_queue(self) -> None:
        """Begin nothing new, or go on."""
        self._actions.queue.pause(not self._models.queue.paused)

    def is_paused(self) -> bool:
        """Say whether the queue is paused."""
        return self._models.queue.paused

    def has_queued(self) -> bool:
        """Say whether a row of the queue is selected."""
        return self._models.queue.selected is not None

    def move_queued(self, step: int) -> None:
        """Let the selected series wait one place earlier or later."""
        self._window.worklist_panel.queue.move_selected(step)

    def retry_queued(self) -> None:
        """Let the selected series wait again."""
        self._window.worklist_panel.queue.retry_selected()

    def cancel_queued(self) -> None:
        """Take the selected series out of the queue."""
        self._window.worklist_panel.queue.cancel_selected()

    # The watched folder

    def open_watch(self) -> None:
        """Open the setting of the watched folder."""
        self._dialogs.show("watch", WatchDialog(self._models.watch, self._actions.watch, self._window))

    def toggle_watch(self) -> None:
        """Stop watching, or go on."""
        self._actions.watch.toggle()

    def has_watch(self) -> bool:
        """Say whether a folder was chosen."""
        return bool(self._models.watch.folder)

    def is_watching(self) -> bool:
        """Say whether a folder is watched."""
        return self._models.watch.on
