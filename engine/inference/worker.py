"""The compute process: torch lives here, so that the window never waits for it nor dies with it.

Requests are read by a thread of their own, so that a cancel arrives while a study is being computed; everything else,
answers included, happens on the main thread. The process ends with its parent, however that ends. Torch is imported
inside `serve`: the module itself is light, because spawning imports it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import queue
import sys
import threading
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import HeadCTError, InferenceError, traceback_without_values
from engine.findings.catalogue import Catalogue, load_catalogue
from engine.geometry import Volume
from engine.inference.array_cache import ArrayCache
from engine.inference.messages import (
    UNKNOWN_REQUEST,
    Analyse,
    BackboneStored,
    Cancel,
    ConvertBackbone,
    Explain,
    Explained,
    Failed,
    LoadModel,
    ModelLoaded,
    Progressed,
    Question,
    Reply,
    SharedSeries,
    Shutdown,
    Started,
    Succeeded,
    WasCancelled,
    WorkerSettings,
)
from engine.inference.threads import use_large_pages, wait_passively
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.progress import Cancelled, CancelToken

if TYPE_CHECKING:
    from engine.inference.predictor import Predictor

_EXIT_PATIENCE_S = 5.0
_SLOW_IMPORTS = ("engine.inference.predictor", "timm.models.efficientnet")
_VOXEL_TYPES = ("int16", "float32")


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Answer requests until told to stop, or until the parent is gone.

    Parameters
    ----------
    connection
        The worker's end of a duplex pipe.
    settings
        The catalogue, the device and the number of threads.
    """
    wait_passively()
    use_large_pages()
    inbox = _Inbox(connection)
    try:
        _Worker(connection, settings, inbox).run()
    except OSError:
        # The pipe broke under an answer: nobody listens any more.
        return
    finally:
        inbox.done.set()


@dataclass(frozen=True)
class _Unreadable:
    """Something arrived that is no request."""

    kind: str


class _Inbox:
    """Reads requests on a thread; cancels apply at once, the rest queues up for the main thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._requests: queue.SimpleQueue[Question | Shutdown | _Unreadable] = queue.SimpleQueue()
        self._tokens: dict[int, CancelToken] = {}
        self.done = threading.Event()
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def next(self) -> Question | Shutdown | _Unreadable:
        """Wait for the next request."""
        return self._requests.get()

    def token(self, request_id: int) -> CancelToken:
        """Return the token that a cancel of this request sets."""
        return self._tokens.setdefault(request_id, CancelToken())

    def finish(self, request_id: int) -> None:
        """Forget a request that has been answered."""
        self._tokens.pop(request_id, None)

    def _read(self) -> None:
        parent = multiprocessing.parent_process()
        sentinels = [] if parent is None else [parent.sentinel]
        while not self.done.is_set():
            ready = wait([self._connection, *sentinels])
            if self._connection not in ready or not self._receive():
                break
        self._stop()

    def _receive(self) -> bool:
        """Take one message; False when the parent is gone."""
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            return False
        except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, ValueError, IndexError) as error:
            message = _Unreadable(type(error).__name__)
        self._sort(message)
        return True

    def _sort(self, message: object) -> None:
        match message:
            case Cancel(request_id):
                # One that has not come, or is answered already, has no token and is nothing to cancel.
                if token := self._tokens.get(request_id):
                    token.cancel()
            case Analyse() | Explain() | ConvertBackbone():
                self.token(message.request_id)
                self._requests.put(message)
            case Shutdown():
                self._cancel_all()
                self._requests.put(message)
            case LoadModel() | _Unreadable():
                self._requests.put(message)
            case _:
                self._requests.put(_Unreadable(type(message).__name__))

    def _stop(self) -> None:
        """Let the main thread end at its next check, and end the process if it is stuck in a long call."""
        self._cancel_all()
        self._requests.put(Shutdown())
        if not self.done.wait(_EXIT_PATIENCE_S):
            os._exit(1)

    def _cancel_all(self) -> None:
        for token in tuple(self._tokens.values()):
            token.cancel()


class _RequestContext:
    """Sends the progress of one request to the window."""

    def __init__(self, connection: Connection, request_id: int, token: CancelToken) -> None:
        self._connection = connection
        self._request_id = request_id
        self._token = token

    def progress(self, done: int, total: int, text: str) -> None:
        """Report a step."""
        self._connection.send(Progressed(self._request_id, done, total, text))

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the window asked to stop."""
        self._token.raise_if_cancelled()


class _Worker:
    """Answers requests one after another."""

    def __init__(self, connection: Connection, settings: WorkerSettings, inbox: _Inbox) -> None:
        self._connection = connection
        self._settings = settings
        self._inbox = inbox
        self._predictor: Predictor | None = None

    def run(self) -> None:
        """Start torch, say so, and answer until told to stop."""
        try:
            catalogue = load_catalogue(Path(self._settings.catalogue_file))
            started = _start_torch(self._settings)
        except HeadCTError as error:
            self._send(Failed(UNKNOWN_REQUEST, error, ""))
            return
        self._send(started)
        while not isinstance(request := self._inbox.next(), Shutdown):
            self._send(self._answer(request, catalogue))

    def _answer(self, request: Question | _Unreadable, catalogue: Catalogue) -> Reply:
        """Return the one final answer to a request, whatever happens in it."""
        request_id = getattr(request, "request_id", UNKNOWN_REQUEST)
        try:
            return self._result(request, catalogue)
        except Cancelled:
            return WasCancelled(request_id)
        except HeadCTError as error:
            return Failed(request_id, error, "")
        except MemoryError:
            return Failed(request_id, _no_memory(), "")
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in one request must not end the worker; it is reported whole
            return Failed(request_id, _bug(error), traceback_without_values(error))
        finally:
            self._inbox.finish(request_id)

    def _result(self, request: Question | _Unreadable, catalogue: Catalogue) -> Reply:
        match request:
            case LoadModel():
                return self._load(request, catalogue)
            case Analyse():
                return self._analyse(request)
            case Explain():
                return self._explain(request)
            case ConvertBackbone():
                return self._convert(request)
            case _Unreadable(kind):
                raise _bad_request(f"a message of type {kind} is no request")

    def _load(self, request: LoadModel, catalogue: Catalogue) -> ModelLoaded:
        from engine.inference.predictor import Predictor

        self._predictor = None
        settings = self._settings
        predictor = Predictor.open(
            Path(request.package_path), catalogue, settings.device, self._registry(), self._cache(), settings.how
        )
        self._predictor = predictor
        return ModelLoaded(request.request_id, predictor.identity, predictor.package.manifest.finding_keys)

    def _analyse(self, request: Analyse) -> Succeeded:
        predictor, context = self._loaded(), self._context(request.request_id)
        series = request.series
        analysis = predictor.analyse(
            _read_volume(series),
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            read_s=series.read_s,
            warnings=series.warnings,
            context=context,
        )
        return Succeeded(request.request_id, analysis)

    def _explain(self, request: Explain) -> Explained:
        from engine.explain.slice_maps import expert_maps, explain_slice

        predictor, context = self._loaded(), self._context(request.request_id)
        series = request.series
        subject = predictor.subject(_read_volume(series), series.series_instance_uid, context)
        if request.wanted is None:
            return Explained(
                request.request_id, expert_maps(subject, request.finding_key, request.slice_index, context)
            )
        return Explained(request.request_id, (explain_slice(subject, request.wanted, context),))

    def _convert(self, request: ConvertBackbone) -> BackboneStored:
        from engine.models.backbones.convert import Terms, conversion_config, convert_checkpoint

        registry = self._registry()
        if registry.store is None:
            raise _bad_request("no folder for backbones was given")
        stored = convert_checkpoint(
            Path(request.file),
            request.name,
            registry,
            registry.store,
            Terms(request.licence, request.origin),
            conversion_config(
                request.name, None if request.config_file is None else Path(request.config_file), request.pooled
            ),
            self._context(request.request_id),
        )
        record = stored.record
        return BackboneStored(request.request_id, record.name, record.weights_digest, record.n_parameters)

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            raise _bad_request("no model has been loaded")
        return self._predictor

    def _context(self, request_id: int) -> _RequestContext:
        token = self._inbox.token(request_id)
        token.raise_if_cancelled()
        return _RequestContext(self._connection, request_id, token)

    def _cache(self) -> ArrayCache | None:
        folder, limit = self._settings.cache_folder, self._settings.cache_limit_bytes
        return None if folder is None or not limit else ArrayCache(Path(folder), limit)

    def _registry(self) -> BackboneRegistry:
        folder = self._settings.backbones_folder
        return open_registry(None if folder is None else Path(folder))

    def _send(self, reply: Reply) -> None:
        self._connection.send(reply)


def _start_torch(settings: WorkerSettings) -> Started:
    """Import what takes seconds now, while the user looks for a study; return what there is to compute on."""
    import torch

    from engine.inference.device import available_devices, choose_device
    from engine.inference.openvino_runtime import is_installed

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    for module in _SLOW_IMPORTS:
        importlib.import_module(module)
    return Started(str(device), available_devices(), torch.get_num_threads(), is_installed())


def _read_volume(series: SharedSeries) -> Volume:
    """Copy the voxels out of the shared block; the window keeps the block and unlinks it."""
    if series.dtype not in _VOXEL_TYPES:
        raise _bad_request(f"voxels of type {series.dtype}")
    try:
        block = _attach(series.shared_memory_name)
    except (OSError, ValueError) as error:
        raise _bad_request("the shared memory of the volume is gone") from error
    try:
        dtype = np.dtype(series.dtype)
        if min(series.shape) < 1 or int(np.prod(series.shape)) * dtype.itemsize > block.size:
            raise _bad_request(f"a volume of {series.shape} does not fit its shared memory")
        voxels = np.ndarray(series.shape, dtype=dtype, buffer=block.buf).copy()
    finally:
        block.close()
    return Volume(
        voxels=voxels,
        geometry=series.geometry,
        units="HU",
        padding_value=series.padding_value,
        sop_instance_uids=series.sop_instance_uids,
    )


def _attach(name: str) -> SharedMemory:
    """Attach to the window's block without the resource tracker, which would take the block for ours and unlink it."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name=name, track=False)
    register = resource_tracker.register
    resource_tracker.register = _do_not_register
    try:
        return SharedMemory(name=name)
    finally:
        resource_tracker.register = register


def _do_not_register(name: object, rtype: object) -> None:
    """Stand in for the tracker's `register` before Python 3.13 offers ``track=False``."""


def _bad_request(reason: str) -> InferenceError:
    return InferenceError(
        f"The compute worker cannot answer: {reason}.",
        hint="Load the model and analyse the series again.",
        code="inference.request",
    )


def _no_memory() -> InferenceError:
    return InferenceError(
        "There is not enough memory to analyse this series.",
        hint="Close other programs and analyse it again.",
        code="inference.memory",
        kind="environment",
    )


def _bug(error: Exception) -> InferenceError:
    return InferenceError(
        f"A fault in the program ended it ({type(error).__name__}); nothing of it is shown.",
        hint="Save the report and send it to the maintainers; it holds no patient data.",
        code="inference.bug",
        kind="environment",
    )
