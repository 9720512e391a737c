"""Analyses: kept whole, the newest of each model on hand, and compared by their pooled features."""

from __future__ import annotations

from sqlalchemy import select

from engine.analysis import Analysis
from engine.store.arrays import pack, unpack
from engine.store.base import StoreBase
from engine.store.records import SimilarStudies
from engine.store.similar import keep_feature, similar
from engine.store.tables import AnalysisTable
from engine.store.worklist_rows import refresh


class Analyses(StoreBase):
    """What models said."""

    def save_analysis(self, analysis: Analysis) -> int:
        """Keep an analysis, and mark its series as analysed in the same transaction.

        Earlier runs stay as history; the newest of a series and model counts.

        Returns
        -------
        int
            Its number in the store.

        Raises
        ------
        StoreError
            If its series is not in the store, or a number in it is not finite.
        """
        document, arrays = pack(analysis)
        with self._writing() as session:
            series = self._series(session, analysis.series_instance_uid)
            row = AnalysisTable(
                series_uid=analysis.series_instance_uid,
                model_name=analysis.model.name,
                model_digest=analysis.model.digest,
                document=document,
                arrays=arrays,
                positive_keys=[finding.key for finding in analysis.findings if finding.positive],
                created_utc=self._clock(),
            )
            session.add(row)
            series.state, series.state_message, series.state_utc = "analysed", "", row.created_utc
            session.flush()
            keep_feature(session, analysis, row.id)
            refresh(session, series.study_uid)
            return row.id

    def similar_studies(
        self, series_uid: str, package_digest: str, limit: int = 5, *, same_patient: bool = False
    ) -> SimilarStudies:
        """Return the studies whose pooled feature by a model is nearest to that of a series, by cosine.

        The features are read in chunks, so memory stays the same however many studies there are.

        Parameters
        ----------
        series_uid, package_digest
            What is compared; only features of the same package are.
        limit
            How many studies at most.
        same_patient
            Also other studies of the same patient; the study itself never is in it.

        Raises
        ------
        StoreError
            If the series has no pooled feature by that model.
        """
        with self._reading() as session:
            return similar(session, self.name, series_uid, package_digest, limit, same_patient=same_patient)

    def latest_analysis(self, series_uid: str, package_digest: str | None = None) -> Analysis | None:
        """Return the newest analysis of a series, by the model of that digest or by any.

        Raises
        ------
        StoreError
            If what is stored is damaged.
        """
        query = select(AnalysisTable).where(AnalysisTable.series_uid == series_uid)
        if package_digest is not None:
            query = query.where(AnalysisTable.model_digest == package_digest)
        with self._reading() as session:
            row = session.scalar(query.order_by(AnalysisTable.id.desc()).limit(1))
            return None if row is None else unpack(row.document, row.arrays, self.name)
