"""Prepare a retraining: what it would use, where its reference cohort is, the request file. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import TrainingError
from engine.models.library import LibraryEntry
from engine.models.package import read_manifest
from engine.progress import NULL_CONTEXT, Context
from engine.store.repository import Store
from trainer.config import RetrainConfig
from trainer.protocol import MAX_DESCRIPTION, RetrainRequest, write_request

REQUEST_FILE = "request.json"


@dataclass(frozen=True)
class FeedbackCount:
    """What stands in the store that says present or absent."""

    n_statements: int
    n_studies: int
    n_disagree: int


@dataclass(frozen=True)
class PreparedRun:
    """A run folder with its request file."""

    folder: Path
    request_file: Path


def count_feedback(store: Store) -> FeedbackCount:
    """Count the statements that a retraining would learn from.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    rows = [row for row in store.corrections() if row.present is not None]
    return FeedbackCount(
        n_statements=len(rows),
        n_studies=len({row.study_uid for row in rows}),
        n_disagree=sum(row.verdict == "disagree" for row in rows),
    )


@dataclass(frozen=True)
class KeptOutSize:
    """What of an imported cohort stays out of a retraining; `problem` says why it cannot be read, in words."""

    n_studies: int = 0
    n_patients: int = 0
    problem: str = ""


def measure_test_parts(cohorts: Iterable[Path], context: Context = NULL_CONTEXT) -> dict[Path, KeptOutSize]:
    """Read the manifests of cohorts; one that cannot be read is said and does not end the others."""
    # Only here: the window starts without what reads a cohort.
    from trainer.cohorts.manifest import read_manifest, summary

    sizes = {}
    for path in cohorts:
        context.raise_if_cancelled()
        try:
            part = summary(read_manifest(path))["test"]
        except TrainingError as error:
            sizes[path] = KeptOutSize(problem=error.message)
        else:
            sizes[path] = KeptOutSize(part["studies"], part["patients"])
    return sizes


def require_cohorts(cohorts: Iterable[Path], context: Context = NULL_CONTEXT) -> None:
    """Read the manifests once more before a retraining starts.

    Raises
    ------
    TrainingError
        If one cannot be read: its test part would be trained on.
    """
    for path, size in measure_test_parts(cohorts, context).items():
        if size.problem:
            raise TrainingError(
                size.problem,
                hint=f"Bring {path} back, or take it from the list of cohorts whose test parts stay out.",
                code="training.cohort_unreadable",
            )


def find_reference(package: Path, places: Iterable[Path]) -> Path:
    """Return the reference cohort that belongs to a package: the one whose data digest the manifest names.

    Parameters
    ----------
    package
        Folder or ZIP of the parent package.
    places
        Folders to search, the parent's own surroundings first.

    Raises
    ------
    TrainingError
        If there is none.
    """
    manifest = read_manifest(package)
    for place in places:
        for features in sorted(place.rglob("*.safetensors")):
            if _data_digest(features.with_suffix(".json")) == manifest.training.data_digest:
                return features
    raise TrainingError(
        f"The reference cohort of the model {manifest.name} is not there, so that a retraining could neither keep what "
        "it has learnt nor be compared with it.",
        hint="Retrain a model that came with its reference cohort, such as the bundled one.",
        code="training.no_reference",
        kind="environment",
    )


def prepare_retraining(
    runs: Path,
    store: str,
    base: LibraryEntry,
    places: Iterable[Path],
    epochs: int | None,
    description: str = "",
    backbones: Path | None = None,
    cohorts: Iterable[Path] = (),
) -> PreparedRun:
    """Make a run folder and write the request into it; feedback on the test parts of `cohorts` is not used.

    Raises
    ------
    TrainingError
        If the description is too long, the parent's reference cohort is missing, or the folder cannot be written.
    """
    if len(description) > MAX_DESCRIPTION:
        raise TrainingError(
            f"The reason has {len(description)} characters; the candidate's record keeps {MAX_DESCRIPTION}.",
            hint="Say it in fewer words.",
            code="training.description",
        )
    reference = find_reference(base.path, places)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    folder = runs / f"retrain-{stamp}"
    request = RetrainRequest(
        store=store,
        base_package=str(base.path),
        reference_cohort=str(reference),
        out=str(folder / "out"),
        config=RetrainConfig() if epochs is None else RetrainConfig(epochs=epochs),
        description=description,
        backbones=None if backbones is None else str(backbones),
        cohorts=tuple(map(str, cohorts)),
    )
    try:
        folder.mkdir(parents=True)
        write_request(request, folder / REQUEST_FILE)
    except OSError as error:
        raise TrainingError(
            f"The run folder {folder} cannot be written: {error.strerror}.",
            hint="Free some space, or choose another place with --home DIR.",
            code="training.run_folder",
            kind="environment",
        ) from error
    return PreparedRun(folder, folder / REQUEST_FILE)


def _data_digest(sidecar: Path) -> str | None:
    """Return the digest in a reference cohort's sidecar; None if this is none."""
    try:
        document = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or document.get("kind") != "reference cohort":
        return None
    digest = document.get("data_digest")
    return digest if isinstance(digest, str) else None
