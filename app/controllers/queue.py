"""The queue of analyses: kept in the store, shared with other windows, worked off one series at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.controllers.analyses import NO_MODEL, STOPPED, AnalysisController, Ending
from app.controllers.rows import NO_NAME, display_date
from app.controllers.session import Session
from app.controllers.worklist import LANE, WorklistController
from app.viewmodels.notices import Notice
from app.viewmodels.queue import Progress, QueueRow
from app.viewmodels.status import AnalysisStatus
from engine.errors import StoreError
from engine.store.workflow import QueueItem, StudyState, WorklistQuery

if TYPE_CHECKING:
    from app.jobs.runner import Job, JobStatus
    from engine.store.repository import Store

SHOWN_ROWS = 200
MOST_LISTED = 2000
UNANALYSED: tuple[StudyState, ...] = ("new", "failed")
# As long as another window works on something of the queue, what it has done is looked up this often.
POLL_MS = 5000
MOST_WORKERS_LOST = 3
ELSEWHERE = "Another window analyses it."
WORKERS_LOST = f"Stopped: the compute worker ended {MOST_WORKERS_LOST} times in a row"

Label = tuple[str, str]


@dataclass(frozen=True)
class QueueView:
    """The queue at one moment, the names of series that were not known yet, and what was claimed."""

    items: tuple[QueueItem, ...]
    labels: dict[str, Label]
    claimed: QueueItem | None = None


class QueueController:
    """Implements `QueueActions`. `change_settings` keeps whether the queue is paused."""

    def __init__(
        self,
        session: Session,
        analyses: AnalysisController,
        worklist: WorklistController,
        change_settings: Callable[..., None],
    ) -> None:
        self._session, self._analyses, self._worklist = session, analyses, worklist
        self._change_settings = change_settings
        self._model = session.models.queue
        self._model.set_paused(session.settings.queue_paused)
        self._labels: dict[str, Label] = {}
        self._running: str | None = None
        self._job: Job | None = None
        self._claiming = False
        self._asked: set[str] = set()
        self._elsewhere: frozenset[str] = frozenset()
        self._polling = False
        self._n_lost = 0
        self.on_done_elsewhere: Callable[[], None] = lambda: None
        session.runner.job_changed.connect(self._show_progress)

    def start(self) -> None:
        """Go on with what waits, once the models are known."""
        self._work(claim=True)

    def release(self) -> None:
        """Let what this window runs wait for the next one: it closes."""
        uid = self._running
        if uid is None:
            return

        def give_back(store: Store) -> None:
            store.retry_queued(uid)
            store.set_series_state(uid, "new")

        self._session.with_store(give_back, "Noting how far the analysis is")

    # QueueActions

    def analyse(self, series_uid: str) -> None:
        """Analyse a series next, also while the queue is paused."""
        session = self._session
        if series_uid == self._running or not session.library_known:
            return
        if session.active_model is None:
            self._analyses.say(series_uid, AnalysisStatus("failed", NO_MODEL))
            return
        self._asked.add(series_uid)
        self._n_lost = 0
        self._analyses.say(series_uid, AnalysisStatus("analysing"))

        def failed(error: BaseException) -> None:
            # What the store cannot queue is analysed all the same: a full disk must not hide a result.
            session.notify(error, "The analysis is not in the queue")
            if isinstance(error, StoreError) and self._running is None:
                self._begin(series_uid, None)

        self._change(lambda store: _put_first(store, series_uid), failed)

    def add(self, series_uids: Sequence[str]) -> None:
        """Put series at the end of the queue."""
        uids = tuple(series_uids)
        if uids:
            self._change(lambda store: store.enqueue(uids))

    def add_unless_done(self, series_uids: Sequence[str]) -> None:
        """Put those series at the end of the queue that the active model has not analysed yet."""
        active = self._session.active_model
        if active is None:
            return
        digest = active.digest
        self._change(
            lambda store: store.enqueue([uid for uid in series_uids if store.latest_analysis(uid, digest) is None])
        )

    def add_listed(self) -> None:
        """Put every volume of the studies that the list shows, and that have no analysis, at the end of the queue."""
        session = self._session
        asked = session.models.worklist.effective_query
        states = tuple(state for state in UNANALYSED if not asked.states or state in asked.states)
        query = replace(asked, states=states, offset=0, limit=MOST_LISTED)

        def add(uids: tuple[str, ...]) -> None:
            text = f"{len(uids):,} studies wait for their analysis." if uids else "The list shows no new study."
            session.models.notices.post(Notice("info", "Analysis queue", text))
            self.add(uids)

        session.run(
            lambda context: _new_volumes(session.store.require(), query) if states else (),
            lane=LANE,
            title="Looking for new studies",
            done=add,
        )

    def cancel(self, series_uid: str) -> None:
        """Take a series out of the queue; what runs here is stopped."""
        if series_uid == self._running and self._job is not None:
            self._session.runner.cancel(self._job.id)
            return
        self._asked.discard(series_uid)
        self._analyses.say(series_uid, AnalysisStatus("new", STOPPED))
        self._change(lambda store: store.cancel_queued(series_uid))

    def retry(self, series_uid: str) -> None:
        """Let a failed series, or one that another window has left, wait again."""
        self._n_lost = 0
        self._model.set_paused(self._model.paused)
        self._change(lambda store: store.retry_queued(series_uid))

    def move(self, series_uid: str, before: str | None) -> None:
        """Put a waiting series before another one; None: to the end."""
        self._change(lambda store: store.move_queued(series_uid, before))

    def pause(self, paused: bool) -> None:
        """Begin nothing new, or go on; what runs is not stopped, and what the reader asks for is analysed anyway."""
        self._n_lost = 0
        self._model.set_paused(paused)
        self._change_settings(queue_paused=paused)
        self._work(claim=True)

    # Inside

    def _change(self, change: Callable[[Store], object], failed: Callable[[BaseException], None] | None = None) -> None:
        self._work(change, claim=True, failed=failed)

    def _work(
        self,
        change: Callable[[Store], object] = lambda store: None,
        *,
        claim: bool = False,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Change the queue, take the next series out of it if nothing runs here, and show it."""
        claim = claim and self._may_claim
        self._claiming = self._claiming or claim
        paused, asked, known = self._held, frozenset(self._asked), frozenset(self._labels)

        def operation(store: Store) -> QueueView:
            change(store)
            claimed = _claim(store, asked if paused else None) if claim else None
            items = store.queue()
            return QueueView(items, _labels(store, items[:SHOWN_ROWS], known), claimed)

        def done(view: QueueView) -> None:
            self._claiming = self._claiming and not claim
            self._show(view)
            if view.claimed is not None:
                self._begin(view.claimed.series_uid, view.claimed.package_digest)
                self._worklist.refresh()
            elif not claim and any(item.state == "waiting" for item in view.items) and self._may_claim:
                self._work(claim=True)  # it was put in while another step was already looking for work

        def not_done(error: BaseException) -> None:
            self._claiming = self._claiming and not claim
            if failed is not None:
                failed(error)
            elif not isinstance(error, StoreError) or error.code != "store.not_open":
                self._session.notify(error, "The analysis queue was not changed")

        self._session.with_store(operation, "Analysis queue", done, not_done)

    @property
    def _held(self) -> bool:
        """Whether only what the reader asks for is begun."""
        return self._model.paused or self._n_lost >= MOST_WORKERS_LOST

    @property
    def _may_claim(self) -> bool:
        session = self._session
        free = self._running is None and not self._claiming
        return free and session.library_known and session.active_model is not None

    def _begin(self, series_uid: str, digest: str | None) -> None:
        self._running = series_uid
        self._job = self._analyses.start(series_uid, digest, self._ended)

    def _ended(self, ending: Ending) -> None:
        self._running = self._job = None
        self._asked.discard(ending.series_uid)
        self._n_lost = self._n_lost + 1 if ending.worker_lost else 0
        if self._n_lost >= MOST_WORKERS_LOST:
            self._model.set_paused(self._model.paused, WORKERS_LOST)
        session = self._session
        again = ending.error is None and not ending.cancelled and session.is_current(ending.series_uid)
        if again and session.current is not None and session.current.analysis is None:
            self.analyse(ending.series_uid)  # another model was activated while this one answered
        else:
            self._work(claim=True)

    def _show(self, view: QueueView) -> None:
        self._labels.update(view.labels)
        rows = tuple(self._row(item) for item in view.items[:SHOWN_ROWS])
        self._model.set_rows(rows, max(len(view.items) - SHOWN_ROWS, 0))
        if len(self._labels) > MOST_LISTED:
            self._labels.clear()
        elsewhere = frozenset(item.series_uid for item in view.items if item.state == "running" and not item.mine)
        for uid in elsewhere:
            self._analyses.say(uid, AnalysisStatus("analysing", ELSEWHERE))
        done = self._elsewhere - elsewhere
        self._elsewhere = elsewhere
        if done:
            self._worklist.refresh()
            if any(self._session.is_current(uid) for uid in done):
                self.on_done_elsewhere()
        if elsewhere and not self._polling:
            self._polling = True
            self._session.runner.gui.later(POLL_MS, self._poll)

    def _poll(self) -> None:
        self._polling = False
        self._work(claim=True)

    def _row(self, item: QueueItem) -> QueueRow:
        label, detail = self._labels.get(item.series_uid, (NO_NAME, ""))
        return QueueRow(item.series_uid, label, detail, item.state, item.message, item.mine)

    def _show_progress(self, status: JobStatus) -> None:
        if self._job is not None and status.id == self._job.id and not status.ended:
            self._model.set_progress(Progress(status.done, status.total, status.text))


def _put_first(store: Store, series_uid: str) -> None:
    """Let a series wait before all others; one that runs, here or elsewhere, goes on."""
    store.enqueue([series_uid], front=True)
    waiting = [item.series_uid for item in store.queue() if item.state == "waiting"]
    if series_uid in waiting[1:]:
        store.move_queued(series_uid, waiting[0])


def _claim(store: Store, only: frozenset[str] | None) -> QueueItem | None:
    """Take the next series, where `only` is given none but one of these; mark it as being analysed."""
    if only is not None:
        first = next((item.series_uid for item in store.queue() if item.state == "waiting"), None)
        if first not in only:
            return None
    item = store.claim_next()
    if item is not None:
        store.set_series_state(item.series_uid, "analysing")
    return item


def _labels(store: Store, items: Sequence[QueueItem], known: frozenset[str]) -> dict[str, Label]:
    """Say in words what the series are whose names are not known yet."""
    labels: dict[str, Label] = {}
    for item in items:
        if item.series_uid not in known:
            row = store.get_series(item.series_uid, include_removed=True)
            if row is None:
                labels[item.series_uid] = (NO_NAME, "")
                continue
            parts = (display_date(row.study_date), row.study_description, row.description)
            labels[item.series_uid] = (
                row.patient_name or row.patient_id or NO_NAME,
                " · ".join(part for part in parts if part),
            )
    return labels


def _new_volumes(store: Store, query: WorklistQuery) -> tuple[str, ...]:
    """Return the series to open of the studies found, where the classifier takes them."""
    found = (store.get_series(row.series_uid) for row in store.worklist(query).rows)
    return tuple(row.series_uid for row in found if row is not None and row.kind == "volume" and not row.reasons)
