"""From a cohort to shards, by several processes, going on after a stop.

Studies are painted or read, then prepared and written. Memory holds one shard's studies a process, however large the
cohort.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import HeadCTError, TrainingError
from engine.inference.array_cache import code_digest
from engine.phantom.study import PAINTED_KEYS, PhantomStudy, generate
from engine.preprocess.prepare import prepare
from engine.progress import NULL_CONTEXT, Context
from trainer.cohorts.extraction import compute_all
from trainer.cohorts.imported import ImportedCase, read_case
from trainer.cohorts.importers.registry import importers
from trainer.cohorts.manifest import SIGNS, CohortManifest, read_manifest, trainable_keys
from trainer.cohorts.phantom import PhantomCase, plan
from trainer.cohorts.words import CohortWords, imported_words, phantom_words
from trainer.config import SPLITS, ImportedCohortConfig, PhantomCohortConfig, Split, TrainConfig, canonical_digest
from trainer.volumes.shards import PreparedStudy, ShardEntry, read_entries, to_int16, write_shard

_LABELS = {sign: label for label, sign in SIGNS.items()}


@dataclass(frozen=True)
class VolumeCase:
    """One study to be prepared: a phantom, or a series of an imported cohort with the labels that it has there.

    With `slices`, a phantom's slices are labelled too.
    """

    source: PhantomCase | ImportedCase
    labels: tuple[int, ...] = ()
    patient_key: str = ""
    slices: bool = False


@dataclass(frozen=True)
class ShardJob:
    """The studies of one shard, and where it is written."""

    path: Path
    cases: tuple[VolumeCase, ...]


@dataclass(frozen=True, eq=False)
class PreparedCohort:
    """All splits as shard entries, the findings that the labels are of, and how to speak of it."""

    keys: tuple[str, ...]
    entries: Mapping[Split, tuple[ShardEntry, ...]]
    words: CohortWords
    document: dict[str, Any]

    def digest(self) -> str:
        """Return the sha256 over voxels and labels of every study, split by split."""
        rows = {
            split: [[entry.identifier, entry.digest, entry.labels_C.tolist()] for entry in entries]
            for split, entries in self.entries.items()
        }
        return canonical_digest({"keys": list(self.keys), "studies": rows})


def prepare_cohort(config: TrainConfig, folder: Path, context: Context = NULL_CONTEXT) -> PreparedCohort:
    """Return the cohort of a run in shards under `folder`; those that are there already are not made again.

    Raises
    ------
    TrainingError
        If a split is left without a study, or a shard cannot be written or read.
    Cancelled
        Between two shards.
    """
    manifest = read_manifest(config.cohort.manifest) if isinstance(config.cohort, ImportedCohortConfig) else None
    keys = PAINTED_KEYS if manifest is None else trainable_keys(manifest)
    jobs = {split: _jobs(config, split, cases, folder) for split, cases in _cases(config, manifest, keys).items()}
    every = [job for of_split in jobs.values() for job in of_split]
    missing = [job for job in every if not job.path.exists()]
    done = len(every) - len(missing)
    for _ in compute_all(missing, partial(write_job, config=config), config.workers, context):
        done += 1
        context.progress(done, len(every), "Preparing studies for training")
    entries = {split: tuple(entry for job in jobs[split] for entry in read_entries(job.path)) for split in SPLITS}
    _require_every_split(entries)
    words, document = _description(config, manifest, entries)
    return PreparedCohort(keys, entries, words, document)


def write_job(job: ShardJob, config: TrainConfig) -> None:
    """Prepare the studies of a shard and write it; one that cannot be read or prepared is left out.

    Raises
    ------
    HeadCTError
        If the machine is at fault, or no study of the shard can be used.
    """
    studies, reasons = [], []
    for case in job.cases:
        try:
            studies.append(_prepared(case, config))
        except HeadCTError as error:
            if error.kind == "environment":
                raise
            reasons.append(error.message)
    if not studies:
        raise TrainingError(
            f"None of {len(job.cases)} studies can be used: {reasons[0]}",
            hint="Put the files back where they were, or import the cohort again.",
            code="training.no_study_in_shard",
        )
    write_shard(job.path, studies)


def _prepared(case: VolumeCase, config: TrainConfig) -> PreparedStudy:
    source = case.source
    if isinstance(source, ImportedCase):
        voxels_hu = prepare(read_case(source), config.preprocessing).voxels_hu
        labels_C = np.array(case.labels, dtype=np.int8)
        return PreparedStudy(source.study_key, case.patient_key, to_int16(voxels_hu), labels_C)
    study = generate(source.seed, _phantoms(config).spec)
    prepared = prepare(study.volume, config.preprocessing)
    return PreparedStudy(
        source.identifier,
        case.patient_key,
        to_int16(prepared.voxels_hu),
        np.array([study.labels[key] for key in PAINTED_KEYS], dtype=np.int8),
        slice_labels(study, prepared.acquired_weights) if case.slices else None,
    )


def slice_labels(study: PhantomStudy, acquired_weights: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return what is seen in the prepared slices of a phantom, int8 (S, C).

    A finding is in a prepared slice if its mask is in acquired slices that make up half of it or more. Of less it is
    unknown (-1): a reader might see it or not; but a finding that reaches half of no slice is in those it fills most.

    Parameters
    ----------
    acquired_weights
        (S, S_acquired), see `engine.preprocess.spec.PreparedVolume`.
    """
    labels_SC = np.zeros((len(acquired_weights), len(PAINTED_KEYS)), dtype=np.int8)
    for key, mask in study.masks.items():
        share_S = acquired_weights @ mask.any(axis=(1, 2)).astype(np.float32)
        most = float(share_S.max())
        if most > 0.0:
            label_S = np.where(share_S >= min(0.5, most), 1, np.where(share_S > 0.0, -1, 0))
            labels_SC[:, PAINTED_KEYS.index(key)] = label_S
    return labels_SC


def _phantoms(config: TrainConfig) -> PhantomCohortConfig:
    if isinstance(config.cohort, ImportedCohortConfig):
        raise TypeError("this run has an imported cohort, not one of phantoms")
    return config.cohort


def _cases(
    config: TrainConfig, manifest: CohortManifest | None, keys: tuple[str, ...]
) -> dict[Split, list[VolumeCase]]:
    if manifest is None:
        planned = plan(_phantoms(config))
        labelled = ("train", "validate") if config.slice_training is not None else ()
        return {
            split: [VolumeCase(case, slices=split in labelled) for case in planned if case.split == split]
            for split in SPLITS
        }
    columns = [manifest.keys.index(key) for key in keys]
    return {
        split: [
            VolumeCase(
                ImportedCase.of(manifest, entry),
                tuple(_LABELS[entry.labels[column]] for column in columns),
                entry.patient_key,
            )
            for entry in manifest.on(split)
        ]
        for split in SPLITS
    }


def _jobs(config: TrainConfig, split: Split, cases: list[VolumeCase], folder: Path) -> list[ShardJob]:
    size = config.end_to_end.studies_per_shard
    jobs = []
    for number, start in enumerate(range(0, len(cases), size)):
        chosen = tuple(cases[start : start + size])
        name = f"{split}-{number:05d}-{_digest(chosen, config)[:12]}.zarr"
        jobs.append(ShardJob(folder / name, chosen))
    return jobs


def _digest(cases: tuple[VolumeCase, ...], config: TrainConfig) -> str:
    """Return the sha256 of all that a shard depends on: its studies, the specs, and the code that makes them."""
    imported = isinstance(config.cohort, ImportedCohortConfig)
    return canonical_digest(
        {
            "cases": [[_name(case.source), *case.labels] for case in cases],
            "phantom": None if imported else _phantoms(config).spec.model_dump(mode="json"),
            "preprocessing": config.preprocessing.model_dump(mode="json"),
            "code": _code_digest(imported),
            **({"slices": "acquired"} if any(case.slices for case in cases) else {}),
        }
    )


def _name(source: PhantomCase | ImportedCase) -> str:
    return source.series_key if isinstance(source, ImportedCase) else source.identifier


@lru_cache(maxsize=2)
def _code_digest(imported: bool) -> str:
    return code_digest(("engine.dicom" if imported else "engine.phantom", "engine.preprocess"))


def _require_every_split(entries: Mapping[Split, tuple[ShardEntry, ...]]) -> None:
    empty = [split for split in SPLITS if not entries[split]]
    if empty:
        raise TrainingError(
            f"The cohort has no study for {' and '.join(empty)}.",
            hint="Add studies of more patients, or import it anew into another folder with larger shares (--shares).",
            code="cohort.empty_split",
        )


def _description(
    config: TrainConfig, manifest: CohortManifest | None, entries: Mapping[Split, tuple[ShardEntry, ...]]
) -> tuple[CohortWords, dict[str, Any]]:
    if manifest is None:
        return phantom_words(_phantoms(config)), config.cohort.model_dump(mode="json")
    used = {split: len(of_split) for split, of_split in entries.items()}
    aside = sum(len(manifest.on(split)) for split in SPLITS) - sum(used.values())
    document = {"kind": "imported", "cohort": manifest.kind_of_cohort, "manifest_digest": manifest.digest}
    return imported_words(manifest, importers()[manifest.kind_of_cohort].title, used, aside), document
