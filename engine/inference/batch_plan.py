"""What a batch is asked to do, what its helpers do, and what may become of a study."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.analysis import Analysis
from engine.dicom.read import read_series
from engine.dicom.scan import ScanReport, scan
from engine.dicom.series import Series
from engine.dicom.walk import Portion
from engine.errors import HeadCTError, traceback_without_values
from engine.geometry import VolumeGeometry
from engine.inference.array_cache import ArrayCache
from engine.inference.study_cache import prepare_cached
from engine.preprocess.spec import PreparedVolume, PreprocessSpec


@dataclass(frozen=True)
class BatchPlan:
    """What to do with a tree.

    Attributes
    ----------
    tree
        A folder; a single file will do.
    spec
        How the model wants studies prepared.
    all_series
        Every analysable series; False takes the best one of each study.
    look_ahead
        How many studies may be read, or prepared and waiting, besides the one in work: this bounds the memory.
    cache_folder, cache_limit_bytes
        Where prepared volumes are kept; None keeps none.
    """

    tree: Path
    spec: PreprocessSpec
    all_series: bool = False
    look_ahead: int = 2
    cache_folder: Path | None = None
    cache_limit_bytes: int = 0

    def cache(self) -> ArrayCache | None:
        """Return the cache of this plan."""
        return None if self.cache_folder is None else ArrayCache(self.cache_folder, self.cache_limit_bytes)


@dataclass(frozen=True)
class Failure:
    """A study, a series or a file that gave no result. No patient data beyond UIDs and paths.

    Attributes
    ----------
    source
        File or folder.
    study_instance_uid, series_instance_uid
        Empty where there is none, as for a file that cannot be read.
    code, kind, reason, hint
        As in `HeadCTError`; kind ``bug`` where the program made a mistake, with the places in `report`.
    """

    source: str
    study_instance_uid: str
    series_instance_uid: str
    code: str
    kind: str
    reason: str
    hint: str
    report: str = ""

    @property
    def passing(self) -> bool:
        """Whether the machine or the program was at fault rather than the study: another run tries it again."""
        return self.kind in ("environment", "bug")

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two reports one."""
        return self.source, self.study_instance_uid, self.series_instance_uid


@dataclass(frozen=True, eq=False)
class Analysed:
    """A result, and the folder or file that it is of."""

    analysis: Analysis
    source: Path


@dataclass(frozen=True)
class PortionDone:
    """A portion of the tree is through.

    Attributes
    ----------
    lasting
        Whether there is nothing in it that another run should try again.
    known
        Whether an earlier run had finished it, and nothing was opened.
    n_ignored
        Files that are no pictures at all.
    """

    portion: Portion
    lasting: bool
    known: bool = False
    n_ignored: int = 0


Outcome = Analysed | Failure | PortionDone


@dataclass
class Finished:
    """What earlier runs have done: UIDs of studies and of series, and signatures of portions by their place."""

    studies: set[str] = field(default_factory=set)
    series: set[str] = field(default_factory=set)
    portions: dict[str, str] = field(default_factory=dict)

    def knows(self, portion: Portion) -> bool:
        """Whether nothing of this portion needs to be looked at."""
        return self.portions.get(str(portion.place)) == portion.signature


@dataclass(frozen=True, eq=False)
class PreparedSeries:
    """What a helper hands over: everything of a series but its voxels."""

    prepared: PreparedVolume
    geometry: VolumeGeometry
    sop_instance_uids: tuple[str, ...]
    read_s: float
    prepare_s: float


def scan_portion(files: tuple[Path, ...]) -> ScanReport:
    """Scan some files, in a helper."""
    return scan(files)


def prepare_series(series: Series, plan: BatchPlan) -> PreparedSeries:
    """Read and prepare a series, in a helper.

    Raises
    ------
    HeadCTError
        If it cannot be read or prepared.
    """
    began = time.perf_counter()
    volume = read_series(series)
    read_s = time.perf_counter() - began
    prepared = prepare_cached(volume, plan.spec, plan.cache())
    prepare_s = time.perf_counter() - began - read_s
    return PreparedSeries(prepared, volume.require_geometry(), volume.sop_instance_uids, read_s, prepare_s)


def failure_of(error: Exception, source: Path | str, study_uid: str = "", series_uid: str = "") -> Failure:
    """Put an error in a failure's words; of one that we do not know, no text is kept: it may quote patient data."""
    words: tuple[str, str, str, str]
    if isinstance(error, HeadCTError):
        words = (error.code, error.kind, error.message, error.hint)
    elif isinstance(error, MemoryError):
        reason = "It does not fit the free memory."
        words = ("inference.memory", "environment", reason, "Close other programs, or use fewer helper processes.")
    else:
        reason = f"The program made a mistake ({type(error).__name__}); the other studies are not affected."
        words = ("bug", "bug", reason, "Please send the report; it holds no patient data.")
    report = traceback_without_values(error) if words[0] == "bug" else ""
    return Failure(str(source), study_uid, series_uid, *words, report=report)
