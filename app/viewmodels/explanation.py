"""Maps over a slice and similar studies: what was asked for, what came, and what is shown of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from psygnal import Signal

from app.viewmodels.jobs import JobRow
from app.viewmodels.reading import HIDDEN_TEXT
from engine.analysis import Analysis
from engine.explain.maps import METHODS, SliceMap

EXPERTS = "experts"
KEPT = 48  # maps are 0.2 MB, those of all experts 1.4 MB
PERCENTILE = 99.5  # a single pixel must not make all others invisible
SENSITIVITY = "Model sensitivity, not a lesion outline."
SimilarState = Literal["none", "waiting", "ready", "failed"]


@dataclass(frozen=True)
class MapChoice:
    """One entry of the chooser."""

    key: str
    label: str
    meaning: str
    heavy: bool = False
    unit: str = "logits per pixel"


CHOICES: dict[str, MapChoice] = {
    choice.key: choice
    for choice in (
        MapChoice("ledger", "Ledger positions", METHODS["ledger"].meaning),
        MapChoice(EXPERTS, "By expert", "Where the frozen path and each expert pushed the slice's entry."),
        MapChoice(
            "integrated_gradients",
            METHODS["integrated_gradients"].label,
            METHODS["integrated_gradients"].meaning,
            heavy=True,
        ),
        MapChoice(
            "occlusion", METHODS["occlusion"].label, METHODS["occlusion"].meaning, heavy=True, unit="logits per patch"
        ),
        MapChoice("gradcam", METHODS["gradcam"].label, METHODS["gradcam"].meaning, unit="no unit"),
    )
}


class MapKey(NamedTuple):
    """What a map belongs to; the same question is never computed twice."""

    series_uid: str
    model_digest: str
    finding_key: str
    slice_index: int
    method: str


@dataclass(frozen=True)
class SimilarRow:
    """One similar study; the findings are labels."""

    series_uid: str
    similarity: float
    patient: str
    study_date: str
    description: str
    positive: tuple[str, ...]
    stated: tuple[str, ...]


class ExplanationModel:
    """The map of the selected finding on the prepared slice in view, and the studies like this one."""

    changed = Signal()
    similar_changed = Signal()

    def __init__(self) -> None:
        self._analysis: Analysis | None = None
        self._finding: str | None = None
        self._slice: int | None = None
        self._hidden = False
        self._method = "ledger"
        self._path = 0
        self._maps: OrderedDict[MapKey, tuple[SliceMap, ...]] = OrderedDict()
        self._failures: dict[MapKey, str] = {}
        self._running: MapKey | None = None
        self._job: int | None = None
        self._progress: JobRow | None = None
        self._similar: tuple[SimilarRow, ...] = ()
        self._similar_state: SimilarState = "none"
        self._similar_text = ""

    # -- what is in view ----------------------------------------------------------------------------------------

    @property
    def analysis(self) -> Analysis | None:
        """The analysis that is explained."""
        return self._analysis

    def set_analysis(self, analysis: Analysis | None) -> None:
        """Take the analysis in view; maps of others are kept for when they come back."""
        self._analysis = analysis
        self._similar, self._similar_state, self._similar_text = (), "none", ""
        self.changed.emit()
        self.similar_changed.emit()

    def set_finding(self, key: str | None) -> None:
        """Follow the selected finding."""
        if key != self._finding:
            self._finding = key
            self.changed.emit()

    def set_slice(self, prepared: int | None) -> None:
        """Follow the viewer to this prepared slice."""
        if prepared != self._slice:
            self._slice = prepared
            self.changed.emit()

    def set_hidden(self, hidden: bool) -> None:
        """Hide everything from the reader, or show it again."""
        if hidden != self._hidden:
            self._hidden = hidden
            self.changed.emit()
            self.similar_changed.emit()

    @property
    def hidden(self) -> bool:
        """Whether the model's output is hidden: a blind first read."""
        return self._hidden

    @property
    def slice_index(self) -> int | None:
        """The prepared slice in view."""
        return self._slice

    # -- choice -------------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """Key of `CHOICES`."""
        return self._method

    @method.setter
    def method(self, method: str) -> None:
        if method != self._method and method in CHOICES:
            self._method = method
            self.changed.emit()

    @property
    def path(self) -> int:
        """Which map of the expert overlay is shown: 0 the frozen path, k expert k."""
        return self._path

    @path.setter
    def path(self, path: int) -> None:
        if path != self._path and 0 <= path <= self.n_experts:
            self._path = path
            self.changed.emit()

    @property
    def n_experts(self) -> int:
        """How many experts the model has."""
        return 0 if self._analysis is None else self._analysis.ledger.values.shape[2] - 1

    # -- maps ---------------------------------------------------------------------------------------------------

    @property
    def target(self) -> MapKey | None:
        """The map that is wanted; None where none can be, and `reason` says why."""
        analysis = self._analysis
        if self._hidden or analysis is None or self._finding is None or self._slice is None:
            return None
        if self._finding not in analysis.ledger.keys:
            return None
        return MapKey(analysis.series_instance_uid, analysis.model.digest, self._finding, self._slice, self._method)

    @property
    def reason(self) -> str:
        """Why there is no map: what is missing, what failed, or what to do; empty where there is one."""
        if self._hidden:
            return HIDDEN_TEXT
        if self._analysis is None:
            return "No analysis, so there is nothing to map."
        if self._finding is None:
            return "Select a finding."
        if self._finding not in self._analysis.ledger.keys:
            return "Not covered by this model: there is nothing to map."
        if self._slice is None:
            return "The slice in view is in no prepared slice, so the model has not seen it."
        target = self.target
        if target is not None and target in self._failures:
            return self._failures[target]
        return "" if self.current is not None else "Not computed for this finding and slice."

    @property
    def maps(self) -> tuple[SliceMap, ...]:
        """The maps of the target: one, or those of the frozen path and the experts; empty where there is none."""
        target = self.target
        return () if target is None else self._maps.get(target, ())

    @property
    def current(self) -> SliceMap | None:
        """The map to show."""
        maps = self.maps
        if not maps:
            return None
        return maps[min(self._path, len(maps) - 1)] if self._method == EXPERTS else maps[0]

    @property
    def limit(self) -> float:
        """The value at the ends of the colour scale; one for all experts, so that they can be compared."""
        maps = self.maps
        if not maps:
            return 0.0
        return max(float(np.percentile(np.abs(item.values), PERCENTILE)) for item in maps)

    @property
    def elsewhere(self) -> int | None:
        """A prepared slice that has a map of this finding by this method, where the one in view has none."""
        target = self.target
        if target is None or target in self._maps:
            return None
        same = [key.slice_index for key in self._maps if key._replace(slice_index=target.slice_index) == target]
        return same[-1] if same else None

    @property
    def running(self) -> MapKey | None:
        """The map that is being computed."""
        return self._running

    @property
    def job_id(self) -> int | None:
        """The job that computes it."""
        return self._job

    @property
    def progress(self) -> JobRow | None:
        """How far it is; None while that is not known."""
        return self._progress

    @property
    def can_compute(self) -> bool:
        """Whether asking for the target would compute something."""
        target = self.target
        return target is not None and target not in self._maps and self._running != target

    def started(self, key: MapKey, job_id: int) -> None:
        """Say that a map is being computed."""
        self._running, self._job, self._progress = key, job_id, None
        self._failures.pop(key, None)
        self.changed.emit()

    def finished(self, key: MapKey, maps: tuple[SliceMap, ...]) -> None:
        """Keep the maps, and show them if they are wanted still; the oldest make room."""
        self._maps[key] = maps
        self._maps.move_to_end(key)
        while len(self._maps) > KEPT:
            self._maps.popitem(last=False)
        self._end(key)

    def failed(self, key: MapKey, reason: str) -> None:
        """Say why there is no map."""
        self._failures[key] = reason
        self._end(key)

    def stopped(self, key: MapKey) -> None:
        """The computation was cancelled."""
        self._end(key)

    def follow_jobs(self, rows: Iterable[JobRow]) -> None:
        """Take the progress of the job that computes the map."""
        mine = next((row for row in rows if row.id == self._job), None)
        if self._running is not None and mine is not None and mine != self._progress:
            self._progress = mine
            self.changed.emit()

    def _end(self, key: MapKey) -> None:
        if self._running == key:
            self._running, self._job, self._progress = None, None, None
        self.changed.emit()

    # -- similar studies ----------------------------------------------------------------------------------------

    @property
    def similar(self) -> tuple[SimilarRow, ...]:
        """The nearest studies, most similar first; empty while hidden."""
        return () if self._hidden else self._similar

    @property
    def wants_similar(self) -> bool:
        """Whether similar studies can be looked for and have not been."""
        return self._analysis is not None and not self._hidden and self._similar_state == "none"

    @property
    def similar_text(self) -> str:
        """What was compared, or why there is nothing."""
        if self._hidden:
            return HIDDEN_TEXT
        if self._analysis is None:
            return "No analysis, so there is nothing to compare with other studies."
        return self._similar_text

    def similar_asked(self) -> None:
        """Say that the store is being asked."""
        self._similar_state, self._similar_text = "waiting", "Looking for similar studies…"
        self.similar_changed.emit()

    def set_similar(self, rows: tuple[SimilarRow, ...], text: str) -> None:
        """Show what the store found."""
        self._similar, self._similar_state, self._similar_text = rows, "ready", text
        self.similar_changed.emit()

    def similar_failed(self, reason: str) -> None:
        """Say why nothing could be looked for."""
        self._similar, self._similar_state, self._similar_text = (), "failed", reason
        self.similar_changed.emit()
