"""A case read from end to end in a live window, with a picture at every step: the pictures of ``docs/reading.md``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.viewmodels.statements import Answer
from app.views.main_window import MainWindow
from app.views.shots import PICTURE_SIZE, SMALL_SIZE, settle, take, take_dialog

FINDING = "acute_subdural_hematoma"
READERS = ("Dr Ames", "Dr Bell", "Prof Osei")
ANSWERS: dict[str, dict[str, Answer]] = {
    READERS[0]: {
        FINDING: "present",
        "epidural_hematoma": "absent",
        "subarachnoid_hemorrhage": "absent",
        "calvarial_fracture": "absent",
        "scalp_hematoma": "unsure",
    },
    READERS[1]: {
        FINDING: "present",
        "epidural_hematoma": "absent",
        "subarachnoid_hemorrhage": "present",
        "calvarial_fracture": "absent",
    },
}
TABS = ("slices", "waterfall", "experts", "what_if", "maps", "similar")
MAP_METHOD = "integrated_gradients"
# What `make shots` writes, all of it: docs/pictures holds these files and no others.
PICTURES = (
    *("review_1366x768", "review_1920x1080", "review_3840x2160", "window_subdural", "window_bone", "evidence_split"),
    *("dialog_export", "dialog_retrain", "dialog_models", "dialog_backbones", "dialog_preferences", "dialog_watch"),
    *("dialog_help", "dialog_about", "volume_bone", "volume_brain", "empty", "study_head_ct_ge_tilt", "study_phantom"),
    "reading",
    *(f"why_{tab}" for tab in TABS),
    *("overlay", "findings_comfortable", "findings_compact", "findings_filtered", "feedback", "dialog_rest_absent"),
    *("dialog_impression", "blind", "dialog_blind", "dialog_readers", "dialog_agreement", "dialog_adjudication"),
    *("queue", "worklist_table"),
)
PATIENCE_S = 120.0
IDLE_S = 0.6  # longer than the worklist rests between two readings


class Tour:
    """Walks through the phantom's study; the window shows it analysed when it begins.

    Parameters
    ----------
    out
        Folder for the pictures.
    window
        The window, with the demo studies analysed.
    idle
        Says that nothing is read, saved or computed.
    """

    def __init__(self, out: Path, window: MainWindow, idle: Callable[[], bool]) -> None:
        self._out, self._window, self._idle = out, window, idle
        self._models = window.models
        self.pictures: list[Path] = []

    def run(self) -> tuple[Path, ...]:
        """Take all pictures.

        Returns
        -------
        tuple of Path
            The files, in the order of the walk.

        Raises
        ------
        ExportError
            If a picture cannot be written.
        """
        self._first_reader()
        self._why()
        self._findings()
        self._statements()
        self._second_reader()
        self._worklist()
        return tuple(self.pictures)

    # -- steps --------------------------------------------------------------------------------------------------

    def _first_reader(self) -> None:
        self._join(READERS[0], "radiologist")
        self._models.findings.selected_key = FINDING
        self._do("jump")
        self._whole("reading", PICTURE_SIZE)

    def _why(self) -> None:
        panel = self._window.evidence_panel
        self._window.resize(*PICTURE_SIZE)
        self._models.explanation.method = MAP_METHOD
        for tab in TABS:
            self._do(f"why_{tab}")
            if tab == "maps":
                self._do("map_compute")
            self._wait()
            self.pictures.append(take(self._out, panel, f"why_{tab}"))
        self._do("why_maps")
        self._models.overlay.on = True
        self._whole("overlay", SMALL_SIZE)
        self._models.overlay.on = False
        self._do("why_slices")

    def _findings(self) -> None:
        findings, panel = self._models.findings, self._window.findings_panel
        self._window.resize(*PICTURE_SIZE)
        for density in ("comfortable", "compact"):
            findings.density = density  # type: ignore[assignment]
            self.pictures.append(take(self._out, panel, f"findings_{density}"))
        findings.density = "comfortable"
        for key in ("positive", "urgent"):
            findings.toggle_filter(key)  # type: ignore[arg-type]
        self.pictures.append(take(self._out, panel, "findings_filtered"))
        findings.clear_filters()

    def _statements(self) -> None:
        self._state(READERS[0])
        self._models.findings.selected_key = FINDING
        self._do("jump")
        self._mark()
        self._do("key_image")
        self._wait()
        self._window.feedback_box.toggle.setChecked(True)
        self._whole("feedback", SMALL_SIZE)
        self._window.feedback_box.toggle.setChecked(False)
        self.pictures.append(take_dialog(self._out, self._window, "rest_absent"))
        self.pictures.append(take_dialog(self._out, self._window, "impression"))
        self.pictures.append(take_dialog(self._out, self._window, "retrain", seconds=IDLE_S))

    def _second_reader(self) -> None:
        self._do("blind_default")
        self._join(READERS[1], "radiologist")
        self._whole("blind", SMALL_SIZE)
        self._state(READERS[1])
        self.pictures.append(take_dialog(self._out, self._window, "commit_blind", "blind"))
        self._window.review_actions.reading.commit()
        self._wait()
        self._do("blind_default")
        self._wait()
        self.pictures.append(take_dialog(self._out, self._window, "readers"))
        self.pictures.append(take_dialog(self._out, self._window, "agreement", seconds=IDLE_S))
        self._join(READERS[2], "adjudicator")
        self.pictures.append(take_dialog(self._out, self._window, "adjudication", seconds=IDLE_S))

    def _worklist(self) -> None:
        queue, panel = self._window.review_actions.queue, self._window.worklist_panel
        self._window.resize(*PICTURE_SIZE)
        queue.pause(True)
        queue.add([row.series_uid for row in self._models.worklist.rows])
        panel.queue.head.setChecked(True)
        panel.filter.setChecked(True)
        self._wait()
        self.pictures.append(take(self._out, panel, "queue"))
        panel.filter.setChecked(False)
        panel.queue.head.setChecked(False)
        for row in self._models.queue.rows:
            queue.cancel(row.series_uid)
        queue.pause(False)
        self._wait()
        self._do("worklist_table")
        self._whole("worklist_table", PICTURE_SIZE)
        self._do("worklist_table")

    # -- parts --------------------------------------------------------------------------------------------------

    def _do(self, command: str) -> None:
        self._window.command_actions[command].trigger()

    def _wait(self) -> None:
        settle(IDLE_S)
        settle(PATIENCE_S, self._idle)

    def _whole(self, name: str, size: tuple[int, int]) -> None:
        self._window.resize(*size)
        self.pictures.append(take(self._out, self._window, name))

    def _join(self, name: str, role: str) -> None:
        self._window.review_actions.reading.add_reader(name, role, "")  # type: ignore[arg-type]
        self._wait()

    def _state(self, reader: str) -> None:
        for key, answer in ANSWERS[reader].items():
            self._models.findings.selected_key = key
            self._models.feedback.give(answer)
        self._wait()

    def _mark(self) -> None:
        """Draw a box round the painted hematoma, as a reader does, and say on which side it is."""
        viewer = self._models.viewer
        rows, columns = viewer.volume.voxels.shape[1:] if viewer.volume is not None else (0, 0)
        top_left, bottom_right = (rows * 0.25, columns * 0.66), (rows * 0.76, columns * 0.79)
        viewer.marks.draw_box(viewer, top_left, bottom_right)
        viewer.marks.finish(viewer)
        self._models.feedback.amend(laterality="left", certainty=90, comment="along the convexity")
