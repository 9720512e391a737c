"""Maps over a slice, drawn by the compute worker on demand, and the studies nearest to the one in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.controllers.rows import NO_NAME, display_date
from app.controllers.session import Session
from app.jobs.compute_process import AnalysisInput
from app.operations.load_series import LoadedSeries, warning_texts
from app.viewmodels.explanation import EXPERTS, MapKey, SimilarRow
from engine.errors import HeadCTError
from engine.explain.maps import SliceMap, SliceMapRequest
from engine.findings.catalogue import Catalogue
from engine.progress import Context
from engine.store.records import SimilarStudies

if TYPE_CHECKING:
    from engine.store.repository import Store

LIMIT = 8
OTHER_MODEL = "This analysis is by another model than the one that is active. Analyse with the active model first."
NOT_READ = "The series in view has not been read yet."
A_MISTAKE = "The program made a mistake; see the message."


class ExplanationController:
    """Implements `ExplanationActions`."""

    def __init__(self, session: Session, open_series: Callable[[str], None]) -> None:
        self._session, self._open_series = session, open_series
        session.on_current.append(lambda uid: self.cancel_map())

    def draw_map(self) -> None:
        """Compute the map that is wanted, unless it is there."""
        session, model = self._session, self._session.models.explanation
        key = model.target
        if key is None or not model.can_compute:
            return
        loaded = session.current.loaded if session.current is not None else None
        package = session.active_model
        if loaded is None or loaded.series.instance_uid != key.series_uid:
            model.failed(key, NOT_READ)
            return
        if package is None or package.digest != key.model_digest:
            model.failed(key, OTHER_MODEL)
            return
        path = str(package.path)
        job = session.run(
            lambda context: self._compute(key, loaded, path, context),
            lane="compute",
            title="Drawing a map",
            key="map",
            done=lambda maps: model.finished(key, maps),
            failed=lambda error: self._failed(key, error),
            cancelled=lambda: model.stopped(key),
        )
        model.started(key, job.id)

    def cancel_map(self) -> None:
        """Stop the map that is being computed."""
        job_id = self._session.models.explanation.job_id
        if job_id is not None:
            self._session.runner.cancel(job_id)

    def _compute(self, key: MapKey, loaded: LoadedSeries, package: str, context: Context) -> tuple[SliceMap, ...]:
        """On the compute lane."""
        item = AnalysisInput(
            volume=loaded.volume,
            study_instance_uid=loaded.series.study.instance_uid,
            series_instance_uid=loaded.series.instance_uid,
            read_s=loaded.read_s,
            warnings=warning_texts(loaded.series),
        )
        wanted = None if key.method == EXPERTS else SliceMapRequest(key.finding_key, key.slice_index, key.method)
        return self._session.compute.explain(item, package, key.finding_key, key.slice_index, wanted, context)

    def _failed(self, key: MapKey, error: BaseException) -> None:
        reason = f"{error.message} {error.hint}".strip() if isinstance(error, HeadCTError) else A_MISTAKE
        self._session.models.explanation.failed(key, reason)
        self._session.notify(error, "The map was not drawn")

    # Similar studies

    def find_similar(self) -> None:
        """Look for the studies nearest to the one in view, unless that has been done."""
        session, model = self._session, self._session.models.explanation
        analysis = model.analysis
        if analysis is None or not model.wants_similar:
            return
        model.similar_asked()

        def look(store: Store) -> SimilarStudies:
            return store.similar_studies(analysis.series_instance_uid, analysis.model.digest, LIMIT)

        def show(found: SimilarStudies) -> None:
            if model.analysis is analysis:
                listed = not session.models.reading.hides_list
                model.set_similar(
                    tuple(similar_rows(found, session.catalogue, listed)), similar_text(found, listed=listed)
                )

        def failed(error: BaseException) -> None:
            if model.analysis is analysis:
                model.similar_failed(error.message if isinstance(error, HeadCTError) else A_MISTAKE)
            if not isinstance(error, HeadCTError):
                session.notify(error, "Similar studies were not found")

        session.with_store(look, "Looking for similar studies", show, failed)

    def open_similar(self, series_uid: str) -> None:
        """Show a similar study."""
        self._open_series(series_uid)


def similar_rows(found: SimilarStudies, catalogue: Catalogue, listed: bool) -> list[SimilarRow]:
    """Return the lines; what models and readers found in those studies only where `listed`."""

    def labels(keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(catalogue[key].label if key in catalogue else key for key in keys) if listed else ()

    return [
        SimilarRow(
            series_uid=study.series_uid,
            similarity=study.similarity,
            patient=study.patient_name or study.patient_id or NO_NAME,
            study_date=display_date(study.study_date),
            description=study.study_description,
            positive=labels(study.positive_keys),
            stated=labels(study.stated_present),
        )
        for study in found.studies
    ]


def similar_text(found: SimilarStudies, *, listed: bool) -> str:
    """Say what was compared, and what the number is and is not."""
    others = max(found.n_excluded - 1, 0)  # one of them is the series itself
    left_out = f"; {others} more of the same patient or study left out" if others else ""
    compared = f"{found.n_compared} series analysed by this model compared{left_out}."
    if not found.studies:
        return f"No other study in the store has been analysed by this model yet. {compared}"
    hidden = "" if listed else " Their findings are hidden: studies are read blind first."
    return f"Cosine of the model's pooled features: alike to the model, not the same diagnosis. {compared}{hidden}"
