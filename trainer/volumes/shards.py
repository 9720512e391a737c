"""Prepared volumes in shards: one Zarr array of several studies, int16 Hounsfield units, read study by study.

A shard is written beside its place and renamed, so it is whole or not there; labels and names stand in its attributes.
Its name holds the digest of all that its studies depend on. See ADR 21 for why Zarr.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from engine.errors import TrainingError
from engine.inference.array_cache import array_digest
from engine.preprocess.spec import AIR_HU

CHUNK_SLICES = 8
_COMPRESSION = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """A prepared volume with its labels.

    Attributes
    ----------
    identifier, patient_key
        As in `trainer.datasets.StudyFeatures`.
    voxels_hu
        int16 [S, H, W].
    labels_C
        int8 (C,).
    slice_labels_SC
        int8 (S, C): what is seen in each slice, as `labels_C`; None where nobody knows.
    """

    identifier: str
    patient_key: str
    voxels_hu: NDArray[np.int16]
    labels_C: NDArray[np.int8]
    slice_labels_SC: NDArray[np.int8] | None = None


@dataclass(frozen=True, eq=False)
class ShardEntry:
    """Where a study is, and what is known of it without reading a voxel.

    Attributes
    ----------
    slice_facts
        int16 (n, 3): slice, finding and label of every slice label that is not 0; None where nobody knows.
    """

    shard: Path
    start: int
    n_slices: int
    identifier: str
    patient_key: str
    labels_C: NDArray[np.int8]
    digest: str
    slice_facts: NDArray[np.int16] | None = None

    def slice_labels_SC(self) -> NDArray[np.int8]:
        """Return int8 (S, C): 1 seen in the slice, 0 not, -1 unknown; all unknown where nobody knows."""
        labels_SC = np.zeros((self.n_slices, len(self.labels_C)), dtype=np.int8)
        if self.slice_facts is None:
            return labels_SC - np.int8(1)
        slices, findings, labels = self.slice_facts.T
        labels_SC[slices, findings] = labels
        return labels_SC


def to_int16(voxels_hu: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round Hounsfield units to whole ones, within what 16 bits hold."""
    limits = np.iinfo(np.int16)
    return np.rint(np.clip(voxels_hu, limits.min, limits.max)).astype(np.int16)


def write_shard(path: Path, studies: Sequence[PreparedStudy]) -> None:
    """Write studies of one size of slices; each begins at a chunk of its own.

    Raises
    ------
    TrainingError
        If the disk is full or the folder cannot be written; nothing is left then.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(part, studies)
        part.rename(path)
    except OSError as error:
        if path.exists():
            return  # Another process has written the same one.
        raise TrainingError(
            f"The shard {path} cannot be written: {error.strerror}",
            hint="Free disk space or choose another folder; the shards written so far are kept.",
            code="training.write",
            kind="environment",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, studies: Sequence[PreparedStudy]) -> None:
    starts = np.cumsum([0, *(_padded(len(study.voxels_hu)) for study in studies)]).tolist()
    rows, columns = studies[0].voxels_hu.shape[1:]
    whole = np.full((starts[-1], rows, columns), int(AIR_HU), dtype=np.int16)
    for start, study in zip(starts, studies, strict=False):
        whole[start : start + len(study.voxels_hu)] = study.voxels_hu
    array = zarr.create_array(
        store=str(folder),
        shape=whole.shape,
        dtype=whole.dtype,
        chunks=(CHUNK_SLICES, rows, columns),
        shards=whole.shape,
        compressors=_COMPRESSION,
        attributes={"studies": [_facts(start, study) for start, study in zip(starts, studies, strict=False)]},
    )
    array[:] = whole


def _facts(start: int, study: PreparedStudy) -> dict[str, Any]:
    return {
        "start": start,
        "n_slices": len(study.voxels_hu),
        "identifier": study.identifier,
        "patient_key": study.patient_key,
        "labels": study.labels_C.tolist(),
        "digest": array_digest(study.voxels_hu),
        **({} if study.slice_labels_SC is None else {"slices": _not_zero(study.slice_labels_SC)}),
    }


def _not_zero(labels_SC: NDArray[np.int8]) -> list[list[int]]:
    slices, findings = np.nonzero(labels_SC)
    found: list[list[int]] = np.stack([slices, findings, labels_SC[slices, findings]], axis=1).tolist()
    return found


def read_entries(path: Path) -> tuple[ShardEntry, ...]:
    """Return what a shard says of its studies.

    Raises
    ------
    TrainingError
        If it is damaged.
    """
    try:
        attributes = zarr.open_array(str(path), mode="r").attrs.asdict()
        return tuple(_entry(path, facts) for facts in cast("list[dict[str, Any]]", attributes["studies"]))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def read_voxels(entry: ShardEntry) -> NDArray[np.int16]:
    """Return the voxels of one study, int16 [S, H, W]; only its own chunks are read.

    Raises
    ------
    TrainingError
        If the shard is damaged.
    """
    try:
        array = zarr.open_array(str(entry.shard), mode="r")
        return np.asarray(array[entry.start : entry.start + entry.n_slices], dtype=np.int16)
    except (OSError, ValueError, RuntimeError) as error:
        raise _damaged(entry.shard, error) from error


def _entry(path: Path, facts: dict[str, Any]) -> ShardEntry:
    slices = facts.get("slices")
    return ShardEntry(
        shard=path,
        start=facts["start"],
        n_slices=facts["n_slices"],
        identifier=facts["identifier"],
        patient_key=facts["patient_key"],
        labels_C=np.array(facts["labels"], dtype=np.int8),
        digest=facts["digest"],
        slice_facts=None if slices is None else np.array(slices, dtype=np.int16).reshape(-1, 3),
    )


def _padded(n_slices: int) -> int:
    return -(-n_slices // CHUNK_SLICES) * CHUNK_SLICES


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"The shard {path} cannot be read ({type(error).__name__}).",
        hint="Delete it; it is made anew when the run is started again.",
        code="training.shard",
    )
