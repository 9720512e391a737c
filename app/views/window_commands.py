"""What each command of the table does in the review window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QFileDialog

from app.viewmodels.actions import ReviewActions
from app.viewmodels.findings import Verdict
from app.viewmodels.review import ReviewModels
from app.views.dialogs.about import AboutDialog
from app.views.dialogs.export import ExportDialog
from app.views.dialogs.help import HelpDialog
from app.views.dialogs.models import ModelsDialog
from app.views.dialogs.preferences import PreferencesDialog
from app.views.dialogs.retrain import RetrainDialog
from app.views.volume_window import VolumeWindow

if TYPE_CHECKING:
    from app.views.main_window import MainWindow

FILE_FILTER = "Head CT (*.dcm *.zip *.nii *.nii.gz);;All files (*)"
ZOOM_STEP = 1.25


class WindowCommands:
    """Implements `CommandTarget` for one window."""

    def __init__(self, window: MainWindow, models: ReviewModels, actions: ReviewActions) -> None:
        self._window, self._models, self._actions = window, models, actions
        self._volume_window: VolumeWindow | None = None
        self._dialogs: dict[str, QDialog] = {}

    # -- files --------------------------------------------------------------------------------------------------

    def ask_open_folder(self) -> None:
        """Ask for a folder and open it."""
        folder = QFileDialog.getExistingDirectory(self._window, "Open a folder of DICOM files")
        if folder:
            self._actions.open_paths([Path(folder)])

    def ask_open_file(self) -> None:
        """Ask for files and open them."""
        files, _ = QFileDialog.getOpenFileNames(self._window, "Open DICOM, ZIP or NIfTI files", "", FILE_FILTER)
        if files:
            self._actions.open_paths([Path(file) for file in files])

    def open_demo(self) -> None:
        """Open the demo studies."""
        self._actions.open_demo()

    def close_window(self) -> None:
        """Close the window."""
        self._window.close()

    # -- dialogs ------------------------------------------------------------------------------------------------

    def open_export(self) -> None:
        """Open the export dialog."""
        self._show("export", ExportDialog(self._actions, self._window))

    def open_retrain(self) -> None:
        """Open the retraining dialog; training goes on when it is closed."""
        self._actions.plan_retraining()
        self._show("retrain", RetrainDialog(self._models.training, self._actions, self._window))

    def open_models(self) -> None:
        """Open the models dialog."""
        self._show("models", ModelsDialog(self._models.library, self._actions, self._window))

    def open_preferences(self) -> None:
        """Open the preferences."""
        self._show("preferences", PreferencesDialog(self._models.preferences, self._actions, self._window))

    def open_help(self) -> None:
        """Open keys and help."""
        self._show("help", HelpDialog(self._window.commands, self._window))

    def open_about(self) -> None:
        """Open the about dialog."""
        self._show("about", AboutDialog(self._models.library.active, self._window))

    def dialog(self, name: str) -> QDialog | None:
        """Return the open dialog of this name."""
        return self._dialogs.get(name)

    def _show(self, name: str, dialog: QDialog) -> None:
        """Show without blocking the event loop; an older dialog of the same name makes way."""
        older = self._dialogs.pop(name, None)
        if older is not None:
            older.close()
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.finished.connect(lambda: self._forget(name, dialog))
        self._dialogs[name] = dialog
        dialog.show()

    def _forget(self, name: str, dialog: QDialog) -> None:
        if self._dialogs.get(name) is dialog:
            del self._dialogs[name]

    def close_children(self) -> None:
        """Close every dialog and the 3D view."""
        for dialog in tuple(self._dialogs.values()):
            dialog.close()
        if self._volume_window is not None:
            self._volume_window.shut_down()
            self._volume_window.deleteLater()
            self._volume_window = None

    # -- 3D -----------------------------------------------------------------------------------------------------

    def open_volume_view(self) -> None:
        """Open the 3D view of the current volume."""
        volume = self._models.viewer.volume
        if volume is None:
            return
        if self._volume_window is None:
            self._volume_window = VolumeWindow(self._window.resources)
        self._volume_window.show()
        self._volume_window.show_volume(volume)
        self._volume_window.raise_()

    @property
    def volume_window(self) -> VolumeWindow | None:
        """The 3D view, once opened."""
        return self._volume_window

    # -- view ---------------------------------------------------------------------------------------------------

    def toggle_studies(self) -> None:
        """Show or hide the study list."""
        self._window.study_list.setVisible(self._window.study_list.isHidden())

    def toggle_evidence(self) -> None:
        """Show or hide the evidence strip."""
        self._window.evidence_panel.setVisible(self._window.evidence_panel.isHidden())

    def toggle_full_screen(self) -> None:
        """Enter or leave full screen."""
        if self._window.isFullScreen():
            self._window.showNormal()
        else:
            self._window.showFullScreen()

    def toggle_overlays(self) -> None:
        """Show or hide the text over the picture."""
        self._models.viewer.overlays = not self._models.viewer.overlays

    def toggle_smoothing(self) -> None:
        """Interpolate between pixels, or not."""
        self._models.viewer.smooth = not self._models.viewer.smooth

    def toggle_cine(self) -> None:
        """Play the slices, or stop."""
        self._window.cine.toggle()

    def toggle_split(self) -> None:
        """Split the ledger's bars, or not."""
        self._models.evidence.split = not self._models.evidence.split

    def fit(self) -> None:
        """Fit the slice."""
        self._models.viewer.fit()

    def zoom_in(self) -> None:
        """Magnify."""
        self._models.viewer.zoom_by(ZOOM_STEP)

    def zoom_out(self) -> None:
        """Shrink."""
        self._models.viewer.zoom_by(1 / ZOOM_STEP)

    def scroll(self, steps: int) -> None:
        """Move by slices."""
        self._window.cine.stop()
        self._models.viewer.scroll(steps)

    def scroll_to_end(self, last: bool) -> None:
        """Show the first or last slice."""
        self._models.viewer.slice_index = self._models.viewer.n_slices - 1 if last else 0

    def choose_tool(self, key: str) -> None:
        """Put a tool on the left button."""
        self._models.viewer.tool = key

    def choose_preset(self, key: str) -> None:
        """Apply a window preset."""
        self._models.viewer.set_preset(key)

    # -- findings -----------------------------------------------------------------------------------------------

    def give_verdict(self, verdict: Verdict) -> None:
        """Save a verdict on the selected finding."""
        self._window.feedback_box.give(verdict)

    def undo_verdict(self) -> None:
        """Withdraw the newest verdict."""
        self._actions.undo_verdict()

    def select_finding(self, step: int) -> None:
        """Select the next or previous finding."""
        self._models.findings.select_next(step)

    def select_study(self, step: int) -> None:
        """Select the next or previous series."""
        rows = self._models.studies.rows
        if not rows:
            return
        uids = [row.series_uid for row in rows]
        current = self._models.studies.current_uid
        place = 0 if current not in uids else min(max(uids.index(current) + step, 0), len(uids) - 1)
        if uids[place] != current:
            self._actions.select_series(uids[place])

    def focus_search(self) -> None:
        """Go to the search box."""
        self._window.findings_panel.focus_search()

    def jump_to_strongest(self, against: bool) -> None:
        """Show the slice that pushed the finding most."""
        self._models.evidence.jump_to_strongest(against)

    # -- model --------------------------------------------------------------------------------------------------

    def analyse_current(self) -> None:
        """Run the model on the current series."""
        uid = self._models.studies.current_uid
        if uid is not None:
            self._actions.analyse(uid)

    def cancel_current_job(self) -> None:
        """Stop the running job."""
        self._window.job_status.request_cancel()
