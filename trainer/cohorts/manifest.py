"""A cohort on disk: which studies, with which labels, of which patients, and on which side of the split. No torch here.

A patient's side is drawn from a hash of the patient, once, and written down. Studies added later find it there; no
patient ever moves, not even one whose studies have gone. The test part is never learnt from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from engine.config import FrozenConfig, describe_validation
from engine.errors import TrainingError
from trainer.cohorts.keys import share
from trainer.config import SPLITS, Split, canonical_digest
from trainer.files import write_json

MANIFEST_FILE = "cohort.json"
SIGNS: Mapping[int, str] = {1: "1", 0: "0", -1: "?"}


class SplitShares(FrozenConfig):
    """What part of the patients each side gets; a patient's side never changes, so neither may these."""

    train: float = Field(default=0.7, gt=0.0, lt=1.0)
    validate_: float = Field(default=0.1, ge=0.0, lt=1.0, alias="validate")
    calibrate: float = Field(default=0.1, ge=0.0, lt=1.0)
    test: float = Field(default=0.1, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(sum(self.in_order()) - 1.0) > 1e-6:
            raise ValueError("the shares must add up to 1")
        return self

    @classmethod
    def of(cls, shares: Sequence[float]) -> Self:
        """Make them from four numbers in the order of `SPLITS`; ValidationError if they are none."""
        return cls.model_validate(dict(zip(SPLITS, shares, strict=True)))

    def in_order(self) -> tuple[float, ...]:
        """Return the shares in the order of `SPLITS`."""
        return self.train, self.validate_, self.calibrate, self.test

    def side(self, patient_key: str) -> Split:
        """Draw a patient's side from the hash alone."""
        left = share(patient_key)
        for split, part in zip(SPLITS, self.in_order(), strict=True):
            if left < part:
                return split
            left -= part
        return next(split for split, part in zip(SPLITS, self.in_order(), strict=True) if part > 0)


class CohortEntry(FrozenConfig):
    """One study.

    Attributes
    ----------
    study_key, patient_key, series_key, header_patient_key
        Hashes, see `trainer.cohorts.keys`; the last is what readers' feedback knows the patient by.
    folder, files
        Where the series is, from the cohort's root; no `files` means all that the folder (or the one file) holds.
    labels
        ``1``, ``0`` or ``?`` for each key of the manifest.
    n_slices, choice
        Of the series used, and the code of why it was this one.
    """

    study_key: str
    patient_key: str
    series_key: str
    header_patient_key: str
    folder: str
    files: tuple[str, ...] = ()
    labels: str = Field(pattern=r"^[01?]*$")
    n_slices: int
    choice: str

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the files, or the one folder or file, to scan."""
        place = root / self.folder
        return tuple(place / name for name in self.files) or (place,)


class CohortManifest(FrozenConfig):
    """The content of ``cohort.json``.

    Attributes
    ----------
    kind_of_cohort, table_digest
        The importer, and the sha256 of the table of labels.
    root
        The folder that everything is relative to.
    keys
        Finding keys that at least one study has a label of, in catalogue order.
    patients
        Patient key to side; only ever grows.
    digest
        The sha256 of everything else but `root`, which may move.
    """

    schema_version: Literal[1] = 1
    kind: Literal["cohort"] = "cohort"
    kind_of_cohort: str
    root: str
    table: str
    table_digest: str
    keys: tuple[str, ...]
    shares: SplitShares
    patients: dict[str, Split]
    studies: tuple[CohortEntry, ...]
    digest: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if any(len(study.labels) != len(self.keys) for study in self.studies):
            raise ValueError("a study has not one label a key")
        if any(study.patient_key not in self.patients for study in self.studies):
            raise ValueError("a study's patient has no side")
        if len({study.study_key for study in self.studies}) != len(self.studies):
            raise ValueError("a study stands twice")
        return self

    def computed_digest(self) -> str:
        """Return the digest that this content has."""
        return canonical_digest(self.model_dump(mode="json", by_alias=True, exclude={"root", "digest"}))

    def side(self, study: CohortEntry) -> Split:
        """Return the side of a study."""
        return self.patients[study.patient_key]

    def on(self, split: Split) -> tuple[CohortEntry, ...]:
        """Return the studies of one side, in the order of the manifest."""
        return tuple(study for study in self.studies if self.side(study) == split)

    def counts(self, split: Split | None = None) -> dict[str, Counter[str]]:
        """Return how often each key is ``1``, ``0`` and ``?``, on one side or on all."""
        studies = self.studies if split is None else self.on(split)
        return {key: Counter(study.labels[index] for study in studies) for index, key in enumerate(self.keys)}


class TestPart:
    """The studies and patients that nothing may be learnt from, of any number of cohorts."""

    __test__ = False

    def __init__(self, manifests: Iterable[CohortManifest] = ()) -> None:
        studies = [study for manifest in manifests for study in manifest.on("test")]
        self._series = {study.series_key for study in studies}
        self._patients = {study.header_patient_key for study in studies}

    def holds(self, series_key: str, header_patient_key: str) -> bool:
        """Whether a series, or another one of its patient, is in a test part."""
        return series_key in self._series or header_patient_key in self._patients


def write_manifest(manifest: CohortManifest, folder: Path) -> CohortManifest:
    """Write ``cohort.json`` with its digest; the file is whole or not there. TrainingError if it cannot be written."""
    sealed = manifest.model_copy(update={"digest": manifest.computed_digest()})
    write_json(folder / MANIFEST_FILE, sealed.model_dump(mode="json", by_alias=True))
    return sealed


def read_manifest(path: Path) -> CohortManifest:
    """Read a manifest.

    Parameters
    ----------
    path
        The file, or the folder that it is in.

    Raises
    ------
    TrainingError
        If it cannot be read, is none, or was changed by hand: a patient may have moved.
    """
    file = path / MANIFEST_FILE if path.is_dir() else path
    try:
        manifest = CohortManifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise _damaged(file, f"it cannot be read ({error.strerror})", "unreadable") from error
    except ValidationError as error:
        raise _damaged(file, describe_validation(error), "invalid") from error
    if manifest.computed_digest() != manifest.digest:
        raise _damaged(file, "its content does not have the digest that it states", "digest")
    return manifest


def label_signs(keys: Sequence[str], labels: Mapping[str, int]) -> str:
    """Return the labels of a study as `CohortEntry` holds them."""
    return "".join(SIGNS[labels.get(key, -1)] for key in keys)


def trainable_keys(manifest: CohortManifest) -> tuple[str, ...]:
    """Return the keys that can be learnt: on the train side at least one study has it, and one has it not."""
    counts = manifest.counts("train")
    return tuple(key for key in manifest.keys if counts[key]["1"] and counts[key]["0"])


def summary(manifest: CohortManifest) -> dict[str, Any]:
    """Return how many studies and patients each side has."""
    sides = Counter(manifest.side(study) for study in manifest.studies)
    patients = Counter({split: len({study.patient_key for study in manifest.on(split)}) for split in SPLITS})
    return {split: {"studies": sides[split], "patients": patients[split]} for split in SPLITS}


def _damaged(path: Path, reason: str, code: str) -> TrainingError:
    return TrainingError(
        f"The cohort manifest {path} is refused: {reason}.",
        hint="Import the cohort again with main.py cohort, into a folder of its own if that one is damaged.",
        code=f"cohort.manifest_{code}",
    )
