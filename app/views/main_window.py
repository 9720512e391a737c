"""The review window: worklist on the left, the viewer over the reasons, findings and feedback on the right."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QScrollBar,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolBar,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReviewActions
from app.viewmodels.notices import Notice
from app.viewmodels.review import ReviewModels
from app.views import theme
from app.views.bindings import bind
from app.views.cine import Cine
from app.views.command_actions import PresetBox, fill_menus, make_actions, make_toolbar, refresh_actions, set_keys
from app.views.commands.base import Command
from app.views.commands.keys import rebind
from app.views.commands.registry import build_commands
from app.views.drop_zone import DropHighlight, dropped_paths, let_drops_through
from app.views.panels.evidence_panel import EvidencePanel
from app.views.panels.feedback_box import FeedbackBox
from app.views.panels.findings_panel import FindingsPanel
from app.views.panels.job_status import JobStatus
from app.views.panels.notices_bar import NoticesBar
from app.views.panels.worklist_items import WorklistItems
from app.views.panels.worklist_page import WorklistPage
from app.views.panels.worklist_panel import WorklistPanel
from app.views.slice_view import SliceView
from app.views.targets.registry import Targets

TITLE = "Head CT review"
BANNER = "RESEARCH USE ONLY — not a medical device, not for diagnosis"
WIDTH_PX, HEIGHT_PX = 1360, 860
LEFT_PX, RIGHT_PX, STRIP_PX = 270, 410, 240
MOST_RIGHT_PX = 640  # wider, a label would stand too far from its bar


class MainWindow(QMainWindow):
    """All panels over one set of view-models; requests go to `actions`."""

    def __init__(self, models: ReviewModels, actions: ReviewActions, resources: Path) -> None:
        super().__init__()
        self.models, self.review_actions, self.resources = models, actions, resources
        self.setWindowTitle(TITLE)
        self.setWindowIcon(theme.icon(resources, "app"))
        self.setAcceptDrops(True)
        self._make_panels()
        self.cine = Cine(models.viewer, self)
        self.command_target = Targets(self, models, actions)
        self.default_commands: tuple[Command, ...] = build_commands(self.command_target)
        self.commands = self.default_commands
        self.command_actions = make_actions(self.commands, self, self.slice_view, resources)
        fill_menus(self, self.commands, self.command_actions)
        self._lay_out()
        self._wire()
        self._follow_keys()
        self.drop_highlight = DropHighlight(self)
        let_drops_through(self)
        self.resize(WIDTH_PX, HEIGHT_PX)
        self.slice_view.setFocus()

    # -- construction -------------------------------------------------------------------------------------------

    def _make_panels(self) -> None:
        models, resources = self.models, self.resources
        self.banner = QLabel(wordWrap=True)  # never cut: a narrow window shows it in two lines
        self.banner.setProperty("role", "banner")
        self.banner.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.banner.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.notices_bar = NoticesBar(models.notices, resources)
        self.worklist_items = WorklistItems(models.worklist, models.queue)
        self.worklist_panel = WorklistPanel(models, self.review_actions, self.worklist_items, resources)
        self.worklist_page = WorklistPage(models.worklist, models.keys, self.worklist_items)
        self.slice_view = SliceView(models.viewer)
        self.slice_view.set_overlay(models.overlay)
        self.slice_bar = QScrollBar(Qt.Orientation.Vertical)
        self.slice_bar.setAccessibleName("Slice")
        self.slice_bar.setToolTip("Slice (wheel; Up, Down, PgUp, PgDown, Home, End in the viewer)")
        self.evidence_panel = EvidencePanel(models, resources)
        self.findings_panel = FindingsPanel(models.findings, models.keys, resources)
        self.feedback_box = FeedbackBox(models, resources)
        self.job_status = JobStatus(models.jobs, resources)
        self.probe_text = QLabel()
        self.reader_text = QLabel()
        self.reader_text.setProperty("role", "muted")

    def _lay_out(self) -> None:
        self.presets = PresetBox(self.models.viewer, self.models.keys)
        toolbar = make_toolbar(self, self.command_actions, self.presets)
        self.addToolBar(toolbar)
        self.centre_split = QSplitter(Qt.Orientation.Vertical)
        self.centre_split.addWidget(self._viewer_with_bar())
        self.centre_split.addWidget(self.evidence_panel)
        self.centre_split.setStretchFactor(0, 1)
        self.centre_split.setSizes([600, STRIP_PX])
        self.columns = QSplitter(Qt.Orientation.Horizontal)
        self.centre = QStackedWidget()
        self.centre.addWidget(self.centre_split)
        self.centre.addWidget(self.worklist_page)
        self.right_column = self._right_column()
        for widget in (self.worklist_panel, self.centre, self.right_column):
            self.columns.addWidget(widget)
        for place, share in ((1, 5), (2, 2)):  # a wider screen gives the findings' labels room too
            self.columns.setStretchFactor(place, share)
        self.columns.setSizes([LEFT_PX, WIDTH_PX - LEFT_PX - RIGHT_PX, RIGHT_PX])
        self.columns.setCollapsible(1, False)
        central = QWidget()
        column = QVBoxLayout(central)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self.notices_bar)
        column.addWidget(self.columns, 1)
        self.setCentralWidget(central)
        self.statusBar().addWidget(self.probe_text)
        self.statusBar().addPermanentWidget(self.job_status)
        self.statusBar().addPermanentWidget(self.reader_text)
        self._order_tabs(toolbar)

    def _order_tabs(self, toolbar: QToolBar) -> None:
        """Let Tab walk as the eye does: toolbar, worklist, viewer, evidence, findings, verdict."""
        buttons = [toolbar.widgetForAction(action) for action in toolbar.actions() if not action.isSeparator()]
        evidence, findings, box = self.evidence_panel, self.findings_panel, self.feedback_box
        panels = (*self._worklist_stops(), self.slice_view, *evidence.tab_order())
        verdict = (*box.buttons.values(), box.next, box.reason, box.comment, box.toggle, *box.details.fields)
        for first, second in pairwise((*buttons, *panels, *findings.controls(), *verdict)):
            QWidget.setTabOrder(first, second)

    def _worklist_stops(self) -> tuple[QWidget, ...]:
        panel = self.worklist_panel
        filters, queue = panel.filters, panel.queue
        head = (panel.sort, panel.filter, panel.table, panel.search, *panel.chips.buttons.values())
        dates = (filters.positive, filters.date_from, filters.date_to, filters.period)
        saved = (filters.saved.choose, filters.saved.save, filters.saved.delete, panel.clear)
        return (*head, *filters.urgencies.values(), *dates, *saved, panel.list, *queue.stops, panel.watch)

    def _viewer_with_bar(self) -> QWidget:
        holder = QWidget()
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.slice_view, 1)
        row.addWidget(self.slice_bar)
        return holder

    def _right_column(self) -> QWidget:
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.findings_panel, 1)
        column.addWidget(self.feedback_box)
        right.setMaximumWidth(MOST_RIGHT_PX)
        return right

    def _wire(self) -> None:
        models = self.models
        for chooser in (self.worklist_panel, self.worklist_page):
            chooser.series_chosen.connect(self.review_actions.select_series)
        bind(self, models.worklist.table_changed, self._follow_table)
        self.findings_panel.rest_requested.connect(self.command_actions["rest_absent"].trigger)
        self.findings_panel.impression_requested.connect(self.command_actions["impression"].trigger)
        self.feedback_box.commit_requested.connect(self.command_actions["commit_blind"].trigger)
        explanations = self.review_actions.explanations
        self.evidence_panel.maps.compute_requested.connect(explanations.draw_map)
        self.evidence_panel.maps.cancel_requested.connect(explanations.cancel_map)
        self.evidence_panel.similar.wanted.connect(explanations.find_similar)
        self.evidence_panel.similar.chosen.connect(explanations.open_similar)
        self.job_status.cancel_requested.connect(self.review_actions.cancel_job)
        self.slice_bar.valueChanged.connect(self._scroll_to)
        bind(self, models.viewer.volume_changed, self._follow_volume)
        bind(self, models.viewer.slice_changed, self._follow_slice)
        bind(self, models.viewer.window_changed, self._follow_preset)
        bind(self, models.viewer.tool_changed, self._follow_tool)
        bind(self, models.viewer.probe_changed, self._follow_probe)
        bind(self, models.library.changed, self._show_banner)
        bind(self, models.reading.reader_wanted, self._ask_reader)
        bind(self, models.reading.changed, self._show_reader)
        bind(self, models.viewer.marks.refused, self._refuse_mark)
        bind(self, models.keys.chosen_changed, self._follow_keys)
        bind(self, models.keys.changed, self._show_reader)
        signals = [signal for target in self.command_target.all() for signal in target.changes()]
        for signal in dict.fromkeys(signals):
            bind(self, signal, self._enable)
        for follow in (self._follow_volume, self._show_banner, self._show_reader, self._enable, self._follow_preset):
            follow()
        self._follow_tool(models.viewer.tool)

    # -- from the models ----------------------------------------------------------------------------------------

    def _follow_volume(self) -> None:
        viewer = self.models.viewer
        self.slice_bar.blockSignals(True)
        self.slice_bar.setRange(0, max(viewer.n_slices - 1, 0))
        self.slice_bar.setPageStep(max(viewer.n_slices // 10, 1))
        self.slice_bar.setValue(viewer.slice_index)
        self.slice_bar.blockSignals(False)
        self.slice_bar.setVisible(viewer.n_slices > 1)
        info = viewer.info
        self.setWindowTitle(f"{info.title} — {TITLE}" if info is not None and info.title else TITLE)
        self._enable()

    def _follow_table(self, as_table: bool) -> None:
        """Give the worklist the whole window but the left column, or take it back."""
        if as_table:
            self.worklist_panel.show()
        self.right_column.setVisible(not as_table)
        self.centre.setCurrentWidget(self.worklist_page if as_table else self.centre_split)
        if not as_table:
            self.slice_view.setFocus()
        self._enable()

    def _follow_slice(self, index: int) -> None:
        self.slice_bar.blockSignals(True)
        self.slice_bar.setValue(index)
        self.slice_bar.blockSignals(False)

    def _scroll_to(self, index: int) -> None:
        self.models.viewer.slice_index = index

    def _follow_preset(self, *_: object) -> None:
        chosen = self.models.viewer.preset
        for command in self.commands:
            if command.check_group == "presets":
                action = self.command_actions[command.id]
                action.actionGroup().setExclusionPolicy(action.actionGroup().ExclusionPolicy.ExclusiveOptional)
                action.setChecked(command.id == f"preset_{chosen}")

    def _follow_tool(self, key: str) -> None:
        self.command_actions[f"tool_{key}"].setChecked(True)

    def _follow_probe(self, probe: object) -> None:
        text = "" if probe is None else self.models.viewer.probe.text
        self.probe_text.setText(text)

    def _show_banner(self) -> None:
        active = self.models.library.active
        identity = "" if active is None else f"   ·   Model {active.name} {active.digest[:8]}: {active.notice}"
        self.banner.setText(f"{BANNER}{identity}")
        self.banner.setToolTip(self.banner.text())

    def _show_reader(self) -> None:
        reading, keys = self.models.reading, self.models.keys
        who = f"Reader: {reading.reader}" if reading.reader else f"No reader chosen{keys.hint('readers')}"
        self.reader_text.setText(" · ".join(part for part in (who, reading.state_text(keys.first)) if part))

    def _ask_reader(self) -> None:
        self.command_actions["readers"].trigger()

    def _refuse_mark(self, reason: str) -> None:
        self.models.notices.post(Notice("info", "No mark was made", reason))

    def _follow_keys(self) -> None:
        """Put the reader's own keys on the actions; what cannot be used of them becomes a notice."""
        keys = self.models.keys
        self.commands, problems = rebind(self.default_commands, keys.chosen)
        set_keys(self.commands, self.command_actions)
        keys.set_keys({command.id: command.shortcuts for command in self.commands})
        self.job_status.cancel.setToolTip(f"Cancel this job{keys.hint('cancel')}")
        if problems:
            hint = "Choose other keys in the preferences, under Keys."
            self.models.notices.post(Notice("warning", "Some keys cannot be used", "\n".join(problems), hint))

    def _enable(self, *_: object) -> None:
        refresh_actions(self.commands, self.command_actions)

    # -- dropping files -----------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept files and folders, anywhere in the window, and show that."""
        paths = dropped_paths(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self.drop_highlight.show_for(paths)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """The files went elsewhere."""
        self.drop_highlight.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        self.drop_highlight.hide()
        paths = dropped_paths(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self.review_actions.open_paths(paths)

    # -- the window itself --------------------------------------------------------------------------------------

    def minimumSizeHint(self) -> QSize:
        """Fit on the smallest supported screen."""
        return QSize(1000, 600)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop what runs in this window and close what it opened, 3D first: OpenGL needs its window alive."""
        self.cine.stop()
        self.command_target.close_children()
        super().closeEvent(event)
