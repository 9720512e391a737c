"""What the window and the compute worker say to each other. No torch here: both sides import it.

The window sends `LoadModel`, `Analyse`, `Explain`, `ConvertBackbone`, `Cancel` and `Shutdown`. The worker says
`Started` once, answers every `LoadModel` with `ModelLoaded` or `Failed`, and every other request with any number of
`Progressed` and then exactly one of its own answer (`Succeeded`, `Explained`, `BackboneStored`), `Failed` and
`WasCancelled`. Voxels travel in a shared memory block that the window creates and unlinks.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.analysis import Analysis, ModelIdentity
from engine.errors import HeadCTError
from engine.explain.maps import SliceMap, SliceMapRequest
from engine.geometry import VolumeGeometry
from engine.inference.compute import AUTOMATIC, Computing

UNKNOWN_REQUEST = -1
"""The request id of a `Failed` that answers no request: the worker could not start, or something unreadable came."""


@dataclass(frozen=True)
class WorkerSettings:
    """Handed to the worker when it starts.

    `backbones_folder` holds the weights that the user brought. Prepared volumes and slice features are kept in
    `cache_folder`, at most `cache_limit_bytes`; None keeps none.
    """

    catalogue_file: str
    device: str
    threads: int | None
    backbones_folder: str | None = None
    how: Computing = AUTOMATIC
    cache_folder: str | None = None
    cache_limit_bytes: int = 0


@dataclass(frozen=True)
class LoadModel:
    """Load the package in this folder or zip and keep it warm."""

    request_id: int
    package_path: str


@dataclass(frozen=True, eq=False)
class SharedSeries:
    """A series whose voxels lie in the shared block.

    `shape` and `dtype` describe the block; the other fields are those of `engine.geometry.Volume` and of the series.
    """

    shared_memory_name: str
    shape: tuple[int, int, int]
    dtype: str
    geometry: VolumeGeometry
    padding_value: float | None
    sop_instance_uids: tuple[str, ...]
    study_instance_uid: str
    series_instance_uid: str
    read_s: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Analyse:
    """Prepare and classify the series with the model that is loaded."""

    request_id: int
    series: SharedSeries


@dataclass(frozen=True, eq=False)
class Explain:
    """Compute maps of one finding on one prepared slice of the series, with the model that is loaded.

    `wanted` says which map; None asks for the maps of the frozen path and of every expert.
    """

    request_id: int
    series: SharedSeries
    finding_key: str
    slice_index: int
    wanted: SliceMapRequest | None


@dataclass(frozen=True)
class ConvertBackbone:
    """Convert a published checkpoint into the folder of the user's backbones; see `engine.models.backbones.convert`."""

    request_id: int
    file: str
    name: str
    config_file: str | None
    licence: str
    origin: str
    pooled: str | None = None


@dataclass(frozen=True)
class Cancel:
    """Stop this request at the next batch."""

    request_id: int


@dataclass(frozen=True)
class Shutdown:
    """Stop at the next batch what is running, drop what waits, and exit."""


@dataclass(frozen=True)
class Started:
    """The worker has imported torch and is ready; `device` is the one it will use.

    `devices` are those that can be used here, `threads` how many of the CPU it takes, `openvino` whether that is here.
    """

    device: str
    devices: tuple[str, ...] = ()
    threads: int = 0
    openvino: bool = False


@dataclass(frozen=True)
class ModelLoaded:
    """The model is ready."""

    request_id: int
    identity: ModelIdentity
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Progressed:
    """How far a request is."""

    request_id: int
    done: int
    total: int
    text: str


@dataclass(frozen=True, eq=False)
class Succeeded:
    """The result of `Analyse`."""

    request_id: int
    analysis: Analysis


@dataclass(frozen=True, eq=False)
class Explained:
    """The result of `Explain`: one map, or those of the frozen path and the experts, in this order."""

    request_id: int
    maps: tuple[SliceMap, ...]


@dataclass(frozen=True)
class BackboneStored:
    """The result of `ConvertBackbone`: which weights are stored now, and how many values they hold."""

    request_id: int
    name: str
    weights_digest: str
    n_parameters: int


@dataclass(frozen=True, eq=False)
class Failed:
    """A request failed. `report` is a traceback without values when the cause is a bug, else empty."""

    request_id: int
    error: HeadCTError
    report: str


@dataclass(frozen=True)
class WasCancelled:
    """A request ended because it was cancelled."""

    request_id: int


Question = LoadModel | Analyse | Explain | ConvertBackbone
Request = Question | Cancel | Shutdown
Reply = Started | ModelLoaded | Progressed | Succeeded | Explained | BackboneStored | Failed | WasCancelled
