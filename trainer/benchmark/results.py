"""What a finished run leaves: ``scores.safetensors`` with every test study's scores, and ``result.json``, written last.

Legend: N studies, C findings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.config import FrozenConfig
from engine.errors import TrainingError
from trainer.benchmark.plan import Cell, Parameters
from trainer.config import TrainConfig
from trainer.files import write_atomically, write_json
from trainer.run_folder import RUN_FILE

RESULT_FILE = "result.json"
SCORES_FILE = "scores.safetensors"
# Keys of a run that decide nothing of its result.
UNDECIDING = frozenset({"workers", "threads"})


class Result(FrozenConfig):
    """The facts of a finished run.

    Attributes
    ----------
    digest, data_digest
        Of configuration and weights, and of the studies' voxels and labels.
    seconds
        Of training and scoring, over all attempts; preparing the cohort and cached features does not count.
    words
        What the studies are called.
    notice
        Of the runs' configuration: what a result must not be taken for.
    """

    schema_version: int = 1
    digest: str
    data_digest: str
    scores_sha256: str
    backbone: str
    arm: str
    seed: int
    epochs: int
    kept_epoch: int
    validation_auc: float | None
    test_auc: float | None
    seconds: float
    device: str
    precision: str
    threads: int
    parameters: dict[str, int | None]
    words: str
    notice: str


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model said on the test studies: logits float32 (N, C) and labels int8 (N, C: 1, 0, -1 unknown)."""

    keys: tuple[str, ...]
    identifiers: tuple[str, ...]
    patients: tuple[str, ...]
    labels_NC: NDArray[np.int8]
    logits_NC: NDArray[np.float32]

    def same_studies(self, other: Scores) -> bool:
        """Whether both are of the same studies, patients, findings and labels."""
        mine, theirs = (self.keys, self.identifiers, self.patients), (other.keys, other.identifiers, other.patients)
        return mine == theirs and np.array_equal(self.labels_NC, other.labels_NC)


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that is done."""

    cell: Cell
    result: Result
    scores: Scores


def write_result(folder: Path, scores: Scores, facts: dict[str, Any]) -> Result:
    """Write the scores, then the facts: whoever finds ``result.json`` finds a whole run.

    Parameters
    ----------
    facts
        The fields of `Result` but the digest of the scores.

    Raises
    ------
    TrainingError
        If the disk is full or the folder cannot be written.
    """
    named = {"keys": scores.keys, "identifiers": scores.identifiers, "patients": scores.patients}
    arrays = {"labels": scores.labels_NC, "logits": scores.logits_NC.astype(np.float32)}
    data = save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        metadata={name: json.dumps(list(values)) for name, values in named.items()},
    )
    write_atomically(folder / SCORES_FILE, data)
    result = Result(**facts, scores_sha256=hashlib.sha256(data).hexdigest())
    write_json(folder / RESULT_FILE, result.model_dump(mode="json"))
    return result


def read_finished(folder: Path, cell: Cell) -> Finished | None:
    """Return a finished run; None where there is none, or its files are damaged: then it is run again.

    Raises
    ------
    TrainingError
        If what is there is of another configuration: it is never overwritten.
    """
    try:
        result = Result.model_validate_json((folder / RESULT_FILE).read_bytes())
        data = (folder / SCORES_FILE).read_bytes()
    except (OSError, ValidationError):
        return None
    if result.digest != cell.digest and not _same_but_for_new_keys(folder, cell):
        raise TrainingError(
            f"{folder} holds a finished run of another configuration or other weights; it is not overwritten.",
            hint="Use the configuration that the benchmark was started with, or another output folder.",
            code="benchmark.other_configuration",
        )
    if hashlib.sha256(data).hexdigest() != result.scores_sha256:
        return None
    scores = _scores(data)
    return None if scores is None else Finished(cell, result, scores)


def _same_but_for_new_keys(folder: Path, cell: Cell) -> bool:
    """Whether a run of an older release was of the same configuration, as far as that release had its keys.

    A key that a later release brings changes every digest, though with its default it changes no run.
    """
    try:
        document = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        written, weights = document["config"], document["digests"]["backbone"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    filled = _filled(written, TrainConfig().model_dump(mode="json"))
    wanted = cell.config.model_dump(mode="json")
    same = {name: filled.get(name) for name in {*wanted, *filled} - UNDECIDING}
    return weights == cell.weights_digest and same == {name: wanted.get(name) for name in same}


def _filled(written: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what was written, with defaults for keys that it does not have; nothing across kinds of cohort."""
    if written.get("kind") != defaults.get("kind"):
        return written
    nested = {
        name: _filled(value, defaults[name])
        for name, value in written.items()
        if isinstance(value, dict) and isinstance(defaults.get(name), dict)
    }
    return {**defaults, **written, **nested}


def _scores(data: bytes) -> Scores | None:
    # The header's length, little-endian, stands before it; safetensors' own reader of bytes gives no metadata.
    length = int.from_bytes(data[:8], "little")
    try:
        named = json.loads(data[8 : 8 + length])["__metadata__"]
        arrays = load(data)
        keys, identifiers, patients = (tuple(json.loads(named[name])) for name in ("keys", "identifiers", "patients"))
        return Scores(keys, identifiers, patients, arrays["labels"], arrays["logits"])
    except (SafetensorError, ValueError, KeyError):
        return None


def counted(parameters: Parameters) -> dict[str, int | None]:
    """Return the counts as `Result` keeps them."""
    return parameters.to_json()
