"""Features of a cohort that was imported: the series of its manifest, read, prepared and put through the backbone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.dicom.series import Series, require_analysable
from engine.errors import DicomError, HeadCTError, TrainingError
from engine.geometry import Volume
from engine.inference.array_cache import code_digest
from engine.models.backbones.registry import open_registry
from engine.progress import NULL_CONTEXT, CancelOnly, Context
from trainer.cohorts.extraction import compute_all, open_extractor, runtime_name
from trainer.cohorts.keys import series_key
from trainer.cohorts.manifest import SIGNS, CohortEntry, CohortManifest
from trainer.config import SPLITS, Split, TrainConfig, canonical_digest
from trainer.datasets import StudyFeatures
from trainer.features import FeatureCache, volume_features
from trainer.files import write_json

SET_ASIDE_FILE = "set_aside.json"
_LABELS = {sign: label for label, sign in SIGNS.items()}
_NO_LABELS = np.zeros(0, dtype=np.int8)


@dataclass(frozen=True)
class ImportedCase:
    """A study of the manifest, and where its files are."""

    study_key: str
    series_key: str
    n_slices: int
    paths: tuple[Path, ...] = field(repr=False)

    @classmethod
    def of(cls, manifest: CohortManifest, entry: CohortEntry) -> ImportedCase:
        """Make it from an entry."""
        return cls(entry.study_key, entry.series_key, entry.n_slices, entry.paths(Path(manifest.root)))


@dataclass(frozen=True)
class SetAside:
    """A study that could not be read or prepared after all, by its key and the error's code."""

    study_key: str
    code: str


def imported_features(
    manifest: CohortManifest,
    keys: tuple[str, ...],
    config: TrainConfig,
    cache_folder: Path,
    context: Context = NULL_CONTEXT,
    backbones: Path | None = None,
) -> tuple[dict[Split, tuple[StudyFeatures, ...]], tuple[SetAside, ...]]:
    """Return the features of every study, by side, from the cache where they are there.

    Stopped at any point, a second call goes on with what is missing. A study that cannot be read or prepared is set
    aside, and listed in ``set_aside.json`` beside the cached features.

    Parameters
    ----------
    keys
        The findings to label the studies with, out of the manifest's.

    Raises
    ------
    HeadCTError
        If the machine is at fault, such as too little memory: then no study would fare better.
    Cancelled
        Between two studies.
    """
    # Labels are not cached: another label of a study leaves its features as they were.
    cache = FeatureCache(cache_folder, ())
    cases = {entry: ImportedCase.of(manifest, entry) for entry in manifest.studies}
    digests = {entry: case_digest(case, config, backbones) for entry, case in cases.items()}
    found = {entry: cached for entry in cases if (cached := cache.get(digests[entry])) is not None}
    set_aside: list[SetAside] = []
    missing = {case: entry for entry, case in cases.items() if entry not in found}
    compute = partial(extract_imported, config=config, backbones=backbones)
    for case, result in compute_all(list(missing), compute, config.workers, context):
        if isinstance(result, SetAside):
            set_aside.append(result)
        else:
            found[missing[case]] = cache.put(digests[missing[case]], result)
        context.progress(len(found) + len(set_aside), len(cases), "Reading studies and computing features")
    set_aside.sort(key=lambda item: item.study_key)
    write_json(cache_folder / SET_ASIDE_FILE, [{"study_key": item.study_key, "code": item.code} for item in set_aside])
    return _by_side(manifest, keys, found), tuple(set_aside)


def extract_imported(
    case: ImportedCase, config: TrainConfig, backbones: Path | None = None, context: Context = NULL_CONTEXT
) -> StudyFeatures | SetAside:
    """Read one study, prepare it and compute its features, without labels.

    Raises
    ------
    HeadCTError
        If the machine is at fault.
    """
    try:
        volume = read_case(case, context)
        features_SD = volume_features(volume, config.preprocessing, open_extractor(config.backbone, backbones), context)
    except HeadCTError as error:
        if error.kind == "environment":
            raise
        return SetAside(case.study_key, error.code)
    return StudyFeatures(case.study_key, features_SD, _NO_LABELS)


def read_case(case: ImportedCase, context: Context = NULL_CONTEXT) -> Volume:
    """Read the series of a study.

    Raises
    ------
    DicomError
        If it is gone, has changed since the import, or must not be analysed.
    """
    inner = CancelOnly(context)
    if not all(path.exists() for path in case.paths):
        raise _changed(case, "some of its files are not there any more", "cohort.source_missing")
    series = _find(case, scan(case.paths, inner).series)
    require_analysable(series)
    return read_series(series, inner)


def _find(case: ImportedCase, found: Iterable[Series]) -> Series:
    for series in found:
        if series_key(series.dicom_series_uid) == case.series_key and series.n_slices == case.n_slices:
            return series
    raise _changed(case, f"its series of {case.n_slices} slices is not there any more", "cohort.source_changed")


def case_digest(case: ImportedCase, config: TrainConfig, backbones: Path | None = None) -> str:
    """Return the sha256 of all that a study's features depend on: files, specs, weights, runtime, and our code."""
    return canonical_digest(
        {
            "series": case.series_key,
            "files": _signature(case.paths),
            "preprocessing": config.preprocessing.model_dump(mode="json"),
            "backbone": [config.backbone, open_registry(backbones).weights_digest(config.backbone)],
            "runtime": runtime_name(),
            "code": _code_digest(),
        }
    )


def _signature(paths: Iterable[Path]) -> str:
    """Return the sha256 of names, sizes and times of change of all files: none is opened for it."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                status = file.stat()
                line = f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code_digest() -> str:
    return code_digest(("engine.dicom", "engine.preprocess"))


def _by_side(
    manifest: CohortManifest, keys: tuple[str, ...], found: dict[CohortEntry, StudyFeatures]
) -> dict[Split, tuple[StudyFeatures, ...]]:
    columns = [manifest.keys.index(key) for key in keys]

    def labelled(entry: CohortEntry) -> StudyFeatures:
        labels_C: NDArray[np.int8] = np.array([_LABELS[entry.labels[column]] for column in columns], dtype=np.int8)
        return found[entry].labelled(entry.study_key, labels_C, entry.patient_key)

    return {split: tuple(labelled(entry) for entry in manifest.on(split) if entry in found) for split in SPLITS}


def require_every_side(
    manifest: CohortManifest, features: dict[Split, tuple[StudyFeatures, ...]], set_aside: Sequence[SetAside] = ()
) -> None:
    """Refuse a run that lacks a side, before any training; say what was set aside, for that may be why.

    Raises
    ------
    TrainingError
        If a side has no study that can be used.
    """
    empty = [split for split in SPLITS if not features[split]]
    if empty:
        counts = ", ".join(f"{split} {len(features[split])}" for split in SPLITS)
        codes = Counter(item.code for item in set_aside).most_common()
        aside = f" Set aside: {', '.join(f'{n} × {code}' for code, n in codes)}." if codes else ""
        raise TrainingError(
            f"The cohort {manifest.digest[:12]} has no study for {' and '.join(empty)} ({counts}).{aside}",
            hint="Look at what was set aside, add studies of more patients, or import the cohort anew into "
            "another folder with larger shares (--shares).",
            code="cohort.empty_split",
        )


def _changed(case: ImportedCase, what: str, code: str) -> DicomError:
    return DicomError(
        f"The study {case.study_key} of the cohort is not used: {what}.",
        hint="Put the files back where they were, or import the cohort again.",
        code=code,
    )
