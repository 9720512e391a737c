"""What computes: keep the user's choice, and have a compute worker that goes by it; the cache of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from app.controllers.session import Session
from app.settings import AppPaths, Settings, computing
from app.viewmodels.computing import ComputingChoice, WorkerFacts
from engine.errors import HeadCTError
from engine.inference.array_cache import ArrayCache, CacheUse
from engine.inference.messages import Started, WorkerSettings

A_MISTAKE = "the program made a mistake; see the message."


def worker_settings(paths: AppPaths, settings: Settings) -> WorkerSettings:
    """Return what a compute worker is started with."""
    return WorkerSettings(
        str(paths.catalogue_file),
        settings.device,
        settings.threads,
        str(paths.backbones),
        computing(paths, settings),
        str(paths.arrays),
        settings.cache_limit_mb << 20,
    )


class ComputingController:
    """Implements `ComputingActions`.

    Parameters
    ----------
    session
        The window's.
    change_settings
        Changes settings, also those of the session, and saves them.
    warm_up
        Called when a worker with the new choice has started: it is to load the active model.
    """

    def __init__(self, session: Session, change_settings: Callable[..., None], warm_up: Callable[[], None]) -> None:
        self._session, self._change_settings, self._warm_up = session, change_settings, warm_up
        self._model = session.models.computing
        settings = session.settings
        self._model.choose(
            ComputingChoice(
                settings.device, settings.precision, settings.cpu_runtime, settings.threads, settings.cache_limit_mb
            )
        )

    def start(self, then: Callable[[], None] = lambda: None) -> None:
        """Have a worker with the present settings, once what runs has ended."""
        session, title = self._session, "Starting the compute worker"

        def failed(error: BaseException) -> None:
            self._model.show_problem(error.message if isinstance(error, HeadCTError) else A_MISTAKE)
            session.notify(error, title)

        session.run(session.compute.start, lane="compute", title=title, done=lambda _: then(), failed=failed)

    def started(self, started: Started) -> None:
        """Show what a worker says of itself, whichever request had it started."""
        self._model.show_worker(WorkerFacts(started.device, started.devices, started.threads, started.openvino))

    # ComputingActions

    def choose(self, choice: ComputingChoice) -> None:
        """Keep this, and have a worker that goes by it once the analysis that runs has ended."""
        session = self._session
        lowered = choice.cache_limit_mb < session.settings.cache_limit_mb
        self._change_settings(**asdict(choice))
        session.compute.configure(worker_settings(session.paths, session.settings))
        self._model.choose(choice)
        self.start(self._warm_up)
        if lowered:
            self._with_cache(ArrayCache.trim, "Trimming the cache")

    def measure_cache(self) -> None:
        """Count what the cache holds."""
        self._with_cache(ArrayCache.use, "Counting the cache")

    def clear_cache(self) -> None:
        """Empty the cache."""

        def cleared(cache: ArrayCache) -> CacheUse:
            cache.clear()
            return cache.use()

        self._with_cache(cleared, "Emptying the cache")

    def _with_cache(self, operation: Callable[[ArrayCache], CacheUse], title: str) -> None:
        session = self._session
        cache = ArrayCache(session.paths.arrays, session.settings.cache_limit_mb << 20)
        session.run(
            lambda context: operation(cache),
            lane="io",
            title=title,
            done=lambda use: self._model.show_cache(use.n_entries, use.n_bytes),
        )
