"""The reference cohort: features of studies that a package was made with, shipped beside it for later retraining.

A retrained model must not forget (the ``replay`` studies), must be calibrated anew (``calibrate``) and must be compared
with its parent on studies that neither has learnt from (``heldout``). The sidecar lists every study of the cohort with
the digest of its features, whether its features are shipped or not; the sha256 of that list is the manifest's
``training.data_digest``, so the file is provably of the same cohort as the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.config import FrozenConfig, describe_validation
from engine.errors import TrainingError
from engine.models.manifest import Manifest
from trainer.config import ReferenceConfig, Split, canonical_digest
from trainer.datasets import StudyFeatures
from trainer.files import write_atomically, write_json

Role = Literal["replay", "calibrate", "heldout"]
_LABEL_SIGNS: Mapping[int, str] = {1: "1", 0: "0", -1: "?"}
_SIGN_LABELS: Mapping[str, int] = {sign: label for label, sign in _LABEL_SIGNS.items()}


class CohortStudy(FrozenConfig):
    """One study; labels hold ``1``, ``0`` or ``?`` per finding key, and without a role its features are not shipped."""

    identifier: str
    split: Split
    labels: str
    features_sha256: str
    role: Role | None


class ReferenceDocument(FrozenConfig):
    """The sidecar of the features file."""

    schema_version: Literal[1] = 1
    kind: Literal["reference cohort"] = "reference cohort"
    description: str
    backbone: str
    backbone_digest: str
    finding_keys: tuple[str, ...]
    data_digest: str
    features_file_sha256: str
    cohort: dict[str, Any]
    studies: tuple[CohortStudy, ...]


@dataclass(frozen=True, eq=False)
class ReferenceCohort:
    """The shipped studies by role, labels in the order of `document.finding_keys`."""

    document: ReferenceDocument
    studies: Mapping[Role, tuple[StudyFeatures, ...]]


def list_cohort(features: Mapping[Split, Sequence[StudyFeatures]], shipped: ReferenceConfig) -> tuple[CohortStudy, ...]:
    """List every study with the digest of its features; the first ones of a split are those that are shipped."""
    roles: Mapping[Split, tuple[Role, int]] = {
        "train": ("replay", shipped.n_replay),
        "calibrate": ("calibrate", shipped.n_calibrate),
        "test": ("heldout", shipped.n_heldout),
    }
    return tuple(
        CohortStudy(
            identifier=study.identifier,
            split=split,
            labels="".join(_LABEL_SIGNS[int(label)] for label in study.labels_C),
            features_sha256=study.digest(),
            role=roles[split][0] if split in roles and index < roles[split][1] else None,
        )
        for split, studies in features.items()
        for index, study in enumerate(studies)
    )


def cohort_digest(keys: Sequence[str], studies: Sequence[CohortStudy]) -> str:
    """Return the digest that stands in the manifest: of keys, identifiers, splits, labels and feature digests."""
    rows = [[study.identifier, study.split, study.labels, study.features_sha256] for study in studies]
    return canonical_digest({"finding_keys": list(keys), "studies": rows})


def sidecar(path: Path) -> Path:
    """Return the path of the JSON beside a features file."""
    return path.with_suffix(".json")


def write_reference(
    path: Path, document: Mapping[str, Any], features: Mapping[Split, Sequence[StudyFeatures]]
) -> ReferenceDocument:
    """Write the features of the studies that have a role, then the sidecar.

    Parameters
    ----------
    path
        The ``.safetensors`` file.
    document
        The fields of `ReferenceDocument` but the file's digest.
    features
        All splits.
    """
    roles = {study.identifier for study in document["studies"] if study.role is not None}
    tensors = {
        study.identifier: np.ascontiguousarray(study.features_SD)
        for studies in features.values()
        for study in studies
        if study.identifier in roles
    }
    data = save(tensors, metadata={"description": str(document["description"])})
    written = ReferenceDocument(**document, features_file_sha256=hashlib.sha256(data).hexdigest())
    write_atomically(path, data)
    write_json(sidecar(path), written.model_dump(mode="json"))
    return written


def read_reference(path: Path, manifest: Manifest) -> ReferenceCohort:
    """Read a reference cohort and check that it is whole and belongs to the model.

    Raises
    ------
    TrainingError
        If a file is missing or damaged, or the cohort is another model's.
    """
    document = _read_document(sidecar(path))
    _check_belongs(path, document, manifest)
    tensors = _read_features(path, document.features_file_sha256)
    studies: dict[Role, list[StudyFeatures]] = {"replay": [], "calibrate": [], "heldout": []}
    for listed in document.studies:
        if listed.role is None:
            continue
        study = StudyFeatures(listed.identifier, tensors[listed.identifier], _labels(listed.labels))
        if study.digest() != listed.features_sha256:
            raise _damaged(path, f"the features of {listed.identifier} are not those of the list")
        studies[listed.role].append(study)
    return ReferenceCohort(document, {role: tuple(found) for role, found in studies.items()})


def _read_document(path: Path) -> ReferenceDocument:
    try:
        return ReferenceDocument.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise _damaged(path, describe_validation(error)) from error


def _check_belongs(path: Path, document: ReferenceDocument, manifest: Manifest) -> None:
    if cohort_digest(document.finding_keys, document.studies) != document.data_digest:
        raise _damaged(sidecar(path), "its list of studies does not have the digest that it states")
    expected = manifest.training.data_digest
    if document.data_digest != expected or document.backbone_digest != manifest.backbone.weights_digest:
        raise TrainingError(
            f"The reference cohort {path} does not belong to the model {manifest.name}: "
            f"its data digest is {document.data_digest[:12]}…, the model's is {expected[:12]}….",
            hint="Use the reference cohort that came with the model.",
            code="training.reference_mismatch",
        )


def _read_features(path: Path, expected_sha256: str) -> dict[str, NDArray[np.float16]]:
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != expected_sha256:
            raise _damaged(path, "its sha256 is not the one in its sidecar")
        return load(data)
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        raise _damaged(path, "it is no safetensors file") from error


def _labels(signs: str) -> NDArray[np.int8]:
    return np.array([_SIGN_LABELS[sign] for sign in signs], dtype=np.int8)


def _damaged(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"The reference cohort cannot be used: {path}: {reason}.",
        hint="Restore the reference cohort from the release, or train again.",
        code="training.reference",
    )
