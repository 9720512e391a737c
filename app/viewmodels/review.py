"""All view-models of the review window, and the links between them."""

from __future__ import annotations

from app.viewmodels.evidence import EvidenceModel
from app.viewmodels.findings import FindingsModel
from app.viewmodels.jobs import JobsModel
from app.viewmodels.keys import KeysModel
from app.viewmodels.library import ModelsModel
from app.viewmodels.notices import NoticesModel
from app.viewmodels.preferences import PreferencesModel
from app.viewmodels.reading import ReadingModel
from app.viewmodels.status import AnalysisStatus
from app.viewmodels.studies import StudyListModel
from app.viewmodels.training import TrainingModel
from app.viewmodels.viewer import ViewerModel
from engine.analysis import Analysis
from engine.findings.catalogue import Catalogue


class ReviewModels:
    """One of each. Selecting a finding fills the evidence; its cursor and the viewer's slice move together."""

    def __init__(self, reader: str = "") -> None:
        self.studies = StudyListModel()
        self.viewer = ViewerModel()
        self.findings = FindingsModel()
        self.evidence = EvidenceModel()
        self.jobs = JobsModel()
        self.notices = NoticesModel()
        self.training = TrainingModel()
        self.library = ModelsModel()
        self.preferences = PreferencesModel(reader)
        self.keys = KeysModel()
        self.reading = ReadingModel(reader)
        self.findings.selected_changed.connect(self._follow_selection)
        self.viewer.slice_changed.connect(self.evidence.set_acquired_index)
        self.viewer.volume_changed.connect(self._follow_volume)
        self.evidence.jump_requested.connect(self._jump)

    def show_analysis(self, catalogue: Catalogue, analysis: Analysis | None) -> None:
        """Hand an analysis, or its absence, to findings and evidence; set verdicts and status afterwards."""
        self.evidence.set_analysis(analysis)
        self.findings.set_analysis(catalogue, analysis)
        self._follow_volume()

    def show_status(self, status: AnalysisStatus) -> None:
        """Tell findings and evidence why there are no values."""
        self.findings.set_status(status)
        self.evidence.set_status(status)

    def _follow_selection(self, key: str | None) -> None:
        self.evidence.selected_key = key

    def _follow_volume(self) -> None:
        shown = self.viewer.volume is not None
        self.evidence.set_acquired_index(self.viewer.slice_index if shown else None)

    def _jump(self, acquired: int) -> None:
        self.viewer.slice_index = acquired
