"""All view-models of the review window, and the links between them."""

from __future__ import annotations

from app.viewmodels.agreement import AgreementModel
from app.viewmodels.backbones import BackbonesModel
from app.viewmodels.computing import ComputingModel
from app.viewmodels.evidence import EvidenceModel
from app.viewmodels.explanation import ExplanationModel
from app.viewmodels.feedback import FeedbackModel
from app.viewmodels.findings import FindingsModel
from app.viewmodels.impression import ImpressionModel
from app.viewmodels.jobs import JobsModel
from app.viewmodels.keys import KeysModel
from app.viewmodels.library import ModelsModel
from app.viewmodels.notices import NoticesModel
from app.viewmodels.overlay import OverlayModel, prepared_slice_at
from app.viewmodels.queue import QueueModel
from app.viewmodels.reading import ReadingModel
from app.viewmodels.status import AnalysisStatus
from app.viewmodels.training import TrainingModel
from app.viewmodels.viewer import ViewerModel
from app.viewmodels.watch import WatchModel
from app.viewmodels.worklist import WorklistModel
from engine.analysis import Analysis
from engine.findings.catalogue import Catalogue


class ReviewModels:
    """One of each. Selecting a finding fills the evidence; its cursor and the viewer's slice move together."""

    def __init__(self, reader: str = "") -> None:
        self.worklist = WorklistModel()
        self.queue = QueueModel()
        self.watch = WatchModel()
        self.viewer = ViewerModel()
        self.findings = FindingsModel()
        self.evidence = EvidenceModel()
        self.jobs = JobsModel()
        self.notices = NoticesModel()
        self.training = TrainingModel()
        self.library = ModelsModel()
        self.backbones = BackbonesModel()
        self.computing = ComputingModel()
        self.keys = KeysModel()
        self.reading = ReadingModel(reader)
        self.reading.hidden_changed.connect(self.findings.set_hidden)  # before anything that draws from the rows
        self.agreement = AgreementModel()
        self.feedback = FeedbackModel(self.findings, self.reading, self.viewer)
        self.impression = ImpressionModel(self.findings, self.reading)
        self.explanation = ExplanationModel()
        self.overlay = OverlayModel(self.explanation, self.viewer)
        self.findings.selected_changed.connect(self._follow_selection)
        self.reading.hidden_changed.connect(self.evidence.set_hidden)
        self.reading.hidden_changed.connect(self.explanation.set_hidden)
        self.reading.hidden_changed.connect(self._leave_no_trace)
        self.jobs.changed.connect(self._follow_jobs)
        self.viewer.slice_changed.connect(self._follow_slice)
        self.viewer.volume_changed.connect(self._follow_volume)
        self.evidence.jump_requested.connect(self._jump)

    def show_analysis(self, catalogue: Catalogue, analysis: Analysis | None) -> None:
        """Hand an analysis, or its absence, to findings and evidence; set verdicts and status afterwards."""
        self.evidence.set_analysis(analysis)
        self.explanation.set_analysis(analysis)
        self.findings.set_analysis(catalogue, analysis)
        self._follow_volume()

    def show_status(self, status: AnalysisStatus) -> None:
        """Tell findings and evidence why there are no values."""
        self.findings.set_status(status)
        self.evidence.set_status(status)

    def _leave_no_trace(self, hidden: bool) -> None:
        """Let a blind read begin where every read begins: where somebody else stopped may tell what the model said."""
        if hidden:
            self.viewer.slice_index = self.viewer.n_slices // 2
            visible = self.findings.visible_rows()
            self.findings.selected_key = visible[0].key if visible else None

    def _follow_selection(self, key: str | None) -> None:
        self.evidence.selected_key = key
        self.explanation.set_finding(key)

    def _follow_volume(self) -> None:
        shown = self.viewer.volume is not None
        self._follow_slice(self.viewer.slice_index if shown else None)

    def _follow_slice(self, acquired: int | None) -> None:
        self.evidence.set_acquired_index(acquired)
        self.explanation.set_slice(self._prepared_in_view(acquired))

    def _prepared_in_view(self, acquired: int | None) -> int | None:
        """Return the prepared slice to explain; a model of volumes has slices only by where they lie."""
        analysis, volume = self.explanation.analysis, self.viewer.volume
        if analysis is None or analysis.unit == "slice":
            return self.evidence.prepared_in_view
        if acquired is None or volume is None or volume.geometry is None or analysis.prepared_grid is None:
            return None
        return prepared_slice_at(analysis.prepared_grid, volume.geometry, acquired)

    def _follow_jobs(self) -> None:
        self.explanation.follow_jobs(self.jobs.rows)

    def _jump(self, acquired: int) -> None:
        self.viewer.slice_index = acquired
