"""What the trainer's process and its parent say to each other. No torch here: the window imports this.

The parent writes one request file and names it to the process. The process writes one event a line, as JSON, to stdout,
and nothing else goes there. The parent may write the line ``stop`` to its stdin; the end of stdin (the parent has gone)
means the same. A run says `Started`, any number of `Progressed` and `EpochEnded`, and then exactly one of `Finished`,
`Failed` and `Cancelled`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from engine.config import FrozenConfig, describe_validation
from engine.errors import ErrorKind, TrainingError
from trainer.config import RetrainConfig

PROTOCOL_VERSION: Final = 1
STOP_LINE = "stop"
MAX_DESCRIPTION = 500
EVALUATION_FILES = ("metrics.json", "evaluation.md", "findings.csv")
"""What an evaluation writes: for programs, for people, and as a table."""


class Started(FrozenConfig):
    """The process has read its request; `pid` is its own, so that the parent may end it."""

    event: Literal["started"] = "started"
    protocol_version: Literal[1] = PROTOCOL_VERSION
    kind: Literal["train", "retrain"]
    pid: int
    device: str


class Progressed(FrozenConfig):
    """`done` of `total` steps of the present stage; `total` 0 means that the end is not known."""

    event: Literal["progressed"] = "progressed"
    done: int
    total: int
    text: str


class EpochEnded(FrozenConfig):
    """A point of the live curve; epochs count from 1. `validation_auc` is None where no finding can be scored."""

    event: Literal["epoch_ended"] = "epoch_ended"
    epoch: int
    max_epochs: int
    train_loss: float
    validation_loss: float
    validation_auc: float | None


class Finished(FrozenConfig):
    """The package stands at `package_path`; `comparison_path` is None for a run from scratch."""

    event: Literal["finished"] = "finished"
    package_path: str
    package_digest: str
    comparison_path: str | None
    mean_auc: float | None
    text: str


class Failed(FrozenConfig):
    """The run failed: what, what to do, and a stable code. `internal` is the code of a bug."""

    event: Literal["failed"] = "failed"
    code: str
    message: str
    hint: str
    kind: ErrorKind


class Cancelled(FrozenConfig):
    """The run was stopped; `checkpoint_path` is None if it had not begun to train."""

    event: Literal["cancelled"] = "cancelled"
    checkpoint_path: str | None


Event = Started | Progressed | EpochEnded | Finished | Failed | Cancelled
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def write_event(event: Event) -> str:
    """Return the event as one line of JSON, without the newline."""
    return event.model_dump_json()


def read_event(line: str) -> Event:
    """Read one line of the trainer's stdout.

    Raises
    ------
    TrainingError
        If the line is no event of this protocol version.
    """
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        raise TrainingError(
            f"The trainer said something that is not in protocol {PROTOCOL_VERSION}: {describe_validation(error)}",
            hint="The trainer and the window must come from the same release.",
            code="training.protocol",
            kind="environment",
        ) from error


class TrainRequest(FrozenConfig):
    """Train from scratch as `config_path` (TOML) says; everything is written under `out`.

    `backbones` is the folder of weights that the user brought; None: only bundled ones.
    """

    kind: Literal["train"] = "train"
    protocol_version: Literal[1] = PROTOCOL_VERSION
    config_path: str
    out: str
    backbones: str | None = None


class RetrainRequest(FrozenConfig):
    """Fine-tune `base_package` with the feedback of a store.

    Attributes
    ----------
    store
        Path or URL of the store; it is only read.
    base_package
        Folder or zip of the parent package; it is never written.
    reference_cohort
        The ``.safetensors`` file of reference features that belongs to the parent, its ``.json`` beside it.
    out
        New folder for the candidate package, the comparison and the checkpoint.
    readers
        Only feedback of these readers; None means everybody's.
    config, seed
        How to train.
    backbones
        The folder of weights that the user brought; None: only bundled ones.
    description
        Why the retraining was asked for, in a person's words; kept in the candidate's metrics and on its card.
    cohorts
        Manifests of imported cohorts: feedback on a study of their test parts, or on its patient, is not used.
    """

    kind: Literal["retrain"] = "retrain"
    protocol_version: Literal[1] = PROTOCOL_VERSION
    store: str
    base_package: str
    reference_cohort: str
    out: str
    readers: tuple[str, ...] | None = None
    config: RetrainConfig = RetrainConfig()
    seed: int = Field(default=1, ge=0, lt=2**31)
    backbones: str | None = None
    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    cohorts: tuple[str, ...] = ()


Request = TrainRequest | RetrainRequest
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])


def write_request(request: Request, path: Path) -> None:
    """Write the request file; only its owner may read it, since the store's URL may hold a password."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(request.model_dump_json(indent=2), encoding="utf-8")


def read_request(path: Path) -> Request:
    """Read a request file.

    Raises
    ------
    TrainingError
        If it cannot be read or is not a request of this protocol version.
    """
    try:
        return _REQUEST.validate_json(path.read_bytes())
    except OSError as error:
        raise TrainingError(
            f"The training request {path} cannot be read: {error.strerror}",
            hint="Start the training again.",
            code="training.request_unreadable",
        ) from error
    except ValidationError as error:
        raise TrainingError(
            f"{path} is not a training request of protocol {PROTOCOL_VERSION}: {describe_validation(error)}",
            hint="The trainer and the window must come from the same release.",
            code="training.request_invalid",
        ) from error


class FindingComparison(FrozenConfig):
    """Parent against candidate on one finding; no AUC and the note ``too few`` where cases are too few.

    Attributes
    ----------
    candidate_auc_low, candidate_auc_high, candidate_average_precision
        Of the candidate alone: the AUC's 95 % interval, and the average precision.
    difference, difference_low, difference_high, p, q
        Candidate minus parent on the same studies, by DeLong's paired test; q is p after Benjamini and Hochberg over
        the findings. None where it was not or could not be computed, and in comparisons of older releases.
    """

    parent_auc: float | None
    candidate_auc: float | None
    n_pos: int
    n_neg: int
    note: str
    candidate_auc_low: float | None = None
    candidate_auc_high: float | None = None
    candidate_average_precision: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    q: float | None = None


class MeanChange(FrozenConfig):
    """Candidate minus parent in mean AUC, with its 95 % interval and p by paired bootstrap over patients."""

    difference: float
    low: float
    high: float
    p: float
    n_findings: int
    n_patients: int
    n_resamples: int
    seed: int


class SetComparison(FrozenConfig):
    """Parent against candidate on one set of studies; the means are over the findings that have an AUC.

    `change` is None where no finding has an AUC, with too few patients, and in comparisons of older releases.
    """

    description: str
    n_studies: int
    parent_mean_auc: float | None
    candidate_mean_auc: float | None
    findings: dict[str, FindingComparison]
    change: MeanChange | None = None


class SkippedSeries(FrozenConfig):
    """A reviewed series that could not be used: where it was looked for, a stable code, and why."""

    source_path: str
    code: str
    reason: str


class OwnStudies(FrozenConfig):
    """What the readers' feedback came to; counts only.

    Attributes
    ----------
    n_statements
        Standing statements that a finding is present or absent, of findings that the model predicts.
    n_unsure, n_conflicting, n_not_covered
        Masked: statements of readers who were unsure, findings of a series on which readers contradict each other,
        and statements on findings that the model does not predict.
    n_train, n_heldout
        Series trained on, and series set apart by patient and never trained on.
    """

    n_statements: int
    n_unsure: int
    n_conflicting: int
    n_not_covered: int
    n_train: int
    n_heldout: int
    skipped: tuple[SkippedSeries, ...]


class Comparison(FrozenConfig):
    """The document ``comparison.json``: what was measured before a person decides about a candidate."""

    schema_version: Literal[1] = 1
    notice: str
    parent_name: str
    parent_digest: str
    candidate_name: str
    candidate_digest: str
    heldout: SetComparison
    own_heldout: SetComparison
    own: OwnStudies
    verdict: str


def read_comparison(path: Path) -> Comparison:
    """Read a comparison.

    Raises
    ------
    TrainingError
        If it cannot be read or is no comparison.
    """
    try:
        return Comparison.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TrainingError(
            f"The comparison {path} cannot be read: {error.strerror}",
            hint="Retrain again to get a new one.",
            code="training.comparison_unreadable",
        ) from error
    except ValidationError as error:
        raise TrainingError(
            f"{path} is not a comparison of two models: {describe_validation(error)}",
            hint="Retrain again to get a new one.",
            code="training.comparison_invalid",
        ) from error
