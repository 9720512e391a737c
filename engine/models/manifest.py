"""The manifest of a model package. No torch here: the window and the library read it."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from engine.config import FrozenConfig, describe_validation
from engine.errors import PackageError
from engine.models.settings import LoraSettings, MoLRESettings
from engine.preprocess.spec import PreprocessSpec

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
TENSOR_FILE = "model.safetensors"
CALIBRATION_FILE = "calibration.json"
METRICS_FILE = "metrics.json"
CARD_FILE = "MODEL_CARD.md"
CONTENT_FILES = (TENSOR_FILE, CALIBRATION_FILE, METRICS_FILE, CARD_FILE)

_UNSEALED = "0" * 64
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"')

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Line = Annotated[str, Field(min_length=1, max_length=500)]


class BackboneReference(FrozenConfig):
    """Which frozen network the classifier stands on: its name, the sha256 of its weights, its feature width."""

    name: Line
    weights_digest: Sha256
    feature_width: int = Field(ge=1, le=65536)


class LoraReference(FrozenConfig):
    """The backbone's adapters: their settings and the shape of every tensor of theirs, by name."""

    settings: LoraSettings
    tensors: dict[str, tuple[int, ...]] = Field(min_length=1)


class TrainingRecord(FrozenConfig):
    """Where the weights come from.

    Attributes
    ----------
    description
        One sentence on the run.
    data_digest
        sha256 over what the run learnt from.
    seed
        Of the run.
    parent_digest
        The package that it started from; None for a first training.
    trained_on
        The data, in words, such as ``200 synthetic phantoms``.
    """

    description: Line
    data_digest: Sha256
    seed: int = Field(ge=0)
    parent_digest: Sha256 | None
    trained_on: Line


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class ManifestDraft(FrozenConfig):
    """What the maker of a package states; `write_package` adds the rest.

    Attributes
    ----------
    name, version
        ``name`` is a slug: lower case letters, digits, ``.``, ``_``, ``-``.
    notice
        One sentence that must stand beside the model's numbers wherever they show.
    created
        When it was made, UTC.
    finding_keys
        The findings that it predicts, in the order of the head's rows.
    molre
        Sizes of the mixture; None where the head reads the backbone's features as they are.
    fusion_hidden
        Width of a trained hidden layer between the pooled feature and the head; None where there is none.
    operating_points
        Per finding key: at or above this the finding counts as positive. On the scale that is shown: the calibrated
        probability where the package calibrates the key, else the raw one.
    """

    name: Slug
    version: Line
    notice: Line
    created: datetime = Field(default_factory=_now)
    backbone: BackboneReference
    finding_keys: tuple[Line, ...] = Field(min_length=1, max_length=10_000)
    preprocessing: PreprocessSpec
    molre: MoLRESettings | None
    lora: LoraReference | None = None
    fusion_hidden: int | None = Field(default=None, ge=1, le=65536)
    operating_points: dict[str, Fraction]
    training: TrainingRecord

    @model_validator(mode="after")
    def _keys_agree(self) -> ManifestDraft:
        """Refuse repeated finding keys, and operating points for other keys."""
        if len(set(self.finding_keys)) != len(self.finding_keys):
            raise ValueError("a finding key stands twice")
        if set(self.operating_points) != set(self.finding_keys):
            raise ValueError("operating_points must name exactly the finding keys")
        return self


class Manifest(ManifestDraft):
    """The whole manifest.

    Attributes
    ----------
    schema_version
        Version of this format.
    files
        sha256 of every other file of the package, by name.
    seal
        sha256 of the manifest file itself with 64 zeros in place of the seal: it finds a changed byte in it.
    digest
        sha256 of the manifest file; it names the package.
    """

    schema_version: int = Field(ge=1)
    files: dict[str, Sha256]
    seal: Sha256
    _digest: str = PrivateAttr(default="")

    @property
    def digest(self) -> str:
        """The sha256 of the manifest file, in hexadecimal."""
        return self._digest


def seal_manifest(draft: ManifestDraft, files: dict[str, str]) -> bytes:
    """Return the bytes of the manifest file for these contents."""
    document = {
        "schema_version": SCHEMA_VERSION,
        **draft.model_dump(mode="json"),
        "files": dict(sorted(files.items())),
        "seal": _UNSEALED,
    }
    unsealed = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    return _with_seal(unsealed, hashlib.sha256(unsealed).hexdigest())


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Read and check a manifest by itself; the files it names are not looked at.

    Parameters
    ----------
    content
        The file's bytes.
    source
        What to call it in messages.

    Raises
    ------
    PackageError
        If it is no JSON object, of a newer version, was changed, has unknown or missing keys or impossible values.
    """
    document = parse_json(content, source)
    _refuse_newer(document, source)
    if not _seal_holds(content):
        raise refused(source, "it was changed after the package was made (its seal does not match)", "changed")
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise refused(source, describe_validation(error), "manifest") from error
    manifest._digest = hashlib.sha256(content).hexdigest()
    return manifest


def parse_json(content: bytes, source: str) -> dict[str, Any]:
    """Read a JSON object; repeated keys, NaN and infinity are refused.

    Raises
    ------
    PackageError
        If it is none.
    """
    try:
        document = json.loads(content, object_pairs_hook=unique_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = f"it is not valid JSON ({error})" if isinstance(error, ValueError) else "it is nested too deeply"
        raise refused(source, reason, "json") from error
    if not isinstance(document, dict):
        raise refused(source, "it is not a JSON object", "json")
    return document


def refused(source: str, reason: str, code: str) -> PackageError:
    """Return the error for a package file that is not accepted."""
    return PackageError(
        f"The model package is refused: {source}: {reason}.",
        hint="Get the package again from where it was made; nothing of it was used.",
        code=f"package.{code}",
    )


def _refuse_newer(document: dict[str, Any], source: str) -> None:
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise PackageError(
            f"The model package is refused: {source} has schema version {version}; "
            f"this program reads up to {SCHEMA_VERSION}.",
            hint="Update the program, then open the package again.",
            code="package.newer",
        )


def _seal_holds(content: bytes) -> bool:
    found: list[bytes] = _SEAL.findall(content)
    if len(found) != 1:
        return False
    unsealed = _SEAL.sub(b'"seal": "' + _UNSEALED.encode() + b'"', content)
    return hashlib.sha256(unsealed).hexdigest().encode() == found[0]


def _with_seal(unsealed: bytes, seal: str) -> bytes:
    return _SEAL.sub(b'"seal": "' + seal.encode() + b'"', unsealed)


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs; ValueError if a key stands twice."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not allowed")
