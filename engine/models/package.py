"""Model packages: written whole or not at all, and refused unless every byte is as it was made.

Torch is imported only by `write_package` and `load_package`; `verify_package` does without.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.config import describe_validation
from engine.errors import PackageError
from engine.models.archive import PackageFiles, open_package
from engine.models.backbones.registry import BackboneRegistry, default_registry
from engine.models.calibration import Calibration
from engine.models.manifest import (
    CALIBRATION_FILE,
    CARD_FILE,
    CONTENT_FILES,
    MANIFEST_FILE,
    METRICS_FILE,
    TENSOR_FILE,
    Manifest,
    ManifestDraft,
    parse_json,
    parse_manifest,
    refused,
    seal_manifest,
)
from engine.models.tensors import ADAPTER_PREFIX, check_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from engine.models.classifier import MoLREClassifier


@dataclass(frozen=True, eq=False)
class VerifiedPackage:
    """A package whose every check has passed: its manifest, and its files' bytes by name."""

    path: Path
    manifest: Manifest
    calibration: Calibration
    metrics: dict[str, Any]
    files: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class LoadedPackage:
    """A verified package with its classifier on the CPU, in evaluation mode.

    `adapter` holds the tensors of the backbone's LoRA adapters; it is empty where `manifest.lora` is None.
    """

    path: Path
    manifest: Manifest
    classifier: MoLREClassifier
    adapter: Mapping[str, Tensor]
    calibration: Calibration
    metrics: dict[str, Any]

    @property
    def digest(self) -> str:
        """The sha256 of the manifest file."""
        return self.manifest.digest


def verify_package(
    path: Path, registry: BackboneRegistry | None = None, known_keys: Collection[str] | None = None
) -> Manifest:
    """Check a package folder or ZIP completely, without torch.

    Parameters
    ----------
    path
        The folder or ZIP.
    registry
        Backbones to check against; the installed ones by default.
    known_keys
        The catalogue's finding keys; None where the caller has no catalogue and any key will do.

    Raises
    ------
    PackageError
        If a file is missing, is too many or was changed; the manifest has unknown keys or a newer version; it predicts
        a finding that is not among `known_keys`; a tensor is missing, is too many, or has another type or shape; or its
        backbone is unknown or has other weights here.
    """
    return read_package(path, registry, known_keys).manifest


def read_package(
    path: Path, registry: BackboneRegistry | None = None, known_keys: Collection[str] | None = None
) -> VerifiedPackage:
    """Do what `verify_package` does, and return everything that was read. Raises PackageError as that does."""
    with open_package(path) as files:
        contents, manifest = _read_files(path, files)
    if known_keys is not None:
        require_known_findings(path, manifest, known_keys)
    check_tensors(contents[TENSOR_FILE], manifest, f"{path}: {TENSOR_FILE}")
    _check_backbone(path, manifest, registry if registry is not None else default_registry())
    calibration = _parse_calibration(contents[CALIBRATION_FILE], manifest, f"{path}: {CALIBRATION_FILE}")
    metrics = parse_json(contents[METRICS_FILE], f"{path}: {METRICS_FILE}")
    return VerifiedPackage(path, manifest, calibration, metrics, contents)


def require_known_findings(path: Path, manifest: Manifest, known_keys: Collection[str]) -> None:
    """Refuse a package whose findings are not all known: there would be no label, no urgency and no place for them.

    Raises
    ------
    PackageError
        If it predicts a key that is not among `known_keys`; the message names the package and the key.
    """
    unknown = [key for key in manifest.finding_keys if key not in known_keys]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise PackageError(
            f"The model package is refused: {path}: it predicts findings that the catalogue does not have: "
            f"{', '.join(unknown[:5])}{more}.",
            hint="Update the program, or use a model that was made for its catalogue; nothing of it was used.",
            code="package.unknown_finding",
        )


def read_manifest(path: Path) -> Manifest:
    """Read only the manifest, for lists; `verify_package` comes before any use. Raises PackageError."""
    with open_package(path) as files:
        return _read_manifest(path, files)[1]


def load_package(path: Path, registry: BackboneRegistry | None = None) -> LoadedPackage:
    """Verify a package and make its classifier. Raises PackageError as `verify_package` does."""
    from safetensors.torch import load

    from engine.models.classifier import MoLREClassifier

    verified = read_package(path, registry)
    manifest = verified.manifest
    tensors: dict[str, Tensor] = load(verified.files[TENSOR_FILE])
    adapter = {
        name.removeprefix(ADAPTER_PREFIX): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(ADAPTER_PREFIX)
    }
    classifier = MoLREClassifier(
        manifest.backbone.feature_width,
        len(manifest.finding_keys),
        manifest.molre,
        fusion_hidden=manifest.fusion_hidden,
    )
    classifier.load_state_dict(tensors)
    classifier.eval().requires_grad_(False)
    return LoadedPackage(path, manifest, classifier, adapter, verified.calibration, verified.metrics)


def write_package(
    folder: Path,
    draft: ManifestDraft,
    classifier: MoLREClassifier,
    *,
    calibration: Calibration,
    metrics: Mapping[str, Any],
    card: str,
    adapter: Mapping[str, Tensor] | None = None,
    registry: BackboneRegistry | None = None,
) -> Manifest:
    """Write a package folder: into a temporary folder beside it, verified there, then renamed.

    Parameters
    ----------
    folder
        Must not exist yet.
    draft
        What the manifest states.
    classifier
        Its W0 must be the identity, which packages do not store.
    calibration, metrics, card
        Contents of the other three files.
    adapter
        Tensors of the backbone's LoRA adapters, as `engine.models.lora.adapter_state` gives them; the draft's `lora`
        names the same ones.
    registry
        Backbones to check against; the installed ones by default.

    Returns
    -------
    Manifest
        As `verify_package` reads it back.

    Raises
    ------
    PackageError
        If the folder exists, cannot be written (kind ``environment``), or the parts do not fit each other.
    """
    if classifier.molre is not None and classifier.molre.frozen_weight_DD is not None:
        raise refused(str(folder), "a package cannot hold a W0 other than the identity", "frozen_weight")
    tensors = _tensor_bytes(classifier, adapter or {})
    return _write_new(folder, draft, (tensors, calibration, metrics, card), registry)


def derive_package(
    folder: Path,
    parent: VerifiedPackage,
    draft: ManifestDraft,
    *,
    calibration: Calibration,
    metrics: Mapping[str, Any],
    card: str,
    registry: BackboneRegistry | None = None,
) -> Manifest:
    """Write a package with the very tensor bytes of another one; no torch. As `write_package` otherwise.

    Raises
    ------
    PackageError
        If the folder exists, cannot be written (kind ``environment``), or the parts do not fit each other.
    """
    return _write_new(folder, draft, (parent.files[TENSOR_FILE], calibration, metrics, card), registry)


def install_files(folder: Path, package: VerifiedPackage) -> None:
    """Write the bytes of a verified package into a new folder, whole or not at all. Raises PackageError."""
    with new_folder(folder) as temporary:
        write_files(temporary, package.files)


def _write_new(
    folder: Path,
    draft: ManifestDraft,
    parts: tuple[bytes, Calibration, Mapping[str, Any], str],
    registry: BackboneRegistry | None,
) -> Manifest:
    tensors, calibration, metrics, card = parts
    contents = {
        TENSOR_FILE: tensors,
        CALIBRATION_FILE: _json_bytes(calibration.model_dump(mode="json")),
        METRICS_FILE: _json_bytes(metrics),
        CARD_FILE: card.encode(),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    with new_folder(folder) as temporary:
        write_files(temporary, {**contents, MANIFEST_FILE: seal_manifest(draft, digests)})
        return verify_package(temporary, registry)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files and see that they are on the disk, not only in its cache."""
    for name, content in contents.items():
        with (folder / name).open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `folder` if the block succeeds, and vanishes if not."""
    if folder.exists():
        raise _not_written(folder, "it exists already")
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".package-", dir=folder.parent))
        temporary.chmod(0o755)
        yield temporary
        temporary.rename(folder)
    except OSError as error:
        raise _not_written(folder, error.strerror or type(error).__name__) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _read_files(path: Path, files: PackageFiles) -> tuple[dict[str, bytes], Manifest]:
    manifest_bytes, manifest = _read_manifest(path, files)
    if set(manifest.files) != set(CONTENT_FILES):
        raise refused(f"{path}: {MANIFEST_FILE}", f"it must list exactly {', '.join(CONTENT_FILES)}", "manifest")
    expected = {MANIFEST_FILE, *CONTENT_FILES}
    for problem, code, names in (
        ("missing", "missing_file", expected - set(files.names())),
        ("not part of a package", "extra_file", set(files.names()) - expected),
    ):
        if names:
            raise refused(str(path), f"{', '.join(sorted(names)[:5])}: {problem}", code)
    contents = {MANIFEST_FILE: manifest_bytes}
    for name, digest in manifest.files.items():
        contents[name] = files.read(name)
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise refused(f"{path}: {name}", "it was changed after the package was made (sha256 differs)", "changed")
    return contents, manifest


def _read_manifest(path: Path, files: PackageFiles) -> tuple[bytes, Manifest]:
    if MANIFEST_FILE not in files.names():
        raise refused(str(path), f"{MANIFEST_FILE} is missing", "missing_file")
    content = files.read(MANIFEST_FILE)
    return content, parse_manifest(content, f"{path}: {MANIFEST_FILE}")


def _check_backbone(path: Path, manifest: Manifest, registry: BackboneRegistry) -> None:
    """Check that the backbone is known, with the weights that the package was trained on and their feature width."""
    wanted = manifest.backbone
    if not registry.knows(wanted.name):
        raise PackageError(
            f"The model package is refused: {path}: its backbone {wanted.name} is not known here; known: "
            f"{', '.join(sorted(registry)) or 'none'}.",
            hint="Update the program, or use a model that was made for one of these backbones.",
            code="backbone.unknown",
        )
    spec = registry.entry(wanted.name, wanted.weights_digest).spec
    try:
        registry.weights_digest(wanted.name, wanted.weights_digest)
    except PackageError as error:
        raise PackageError(
            f"The model package {path} cannot be used yet: {error.message}",
            hint=error.hint,
            code="package.backbone_weights",
            kind="environment",
        ) from error
    if spec.feature_width != wanted.feature_width:
        reason = f"feature width {wanted.feature_width}, but {spec.name} has {spec.feature_width}"
        raise refused(f"{path}: {MANIFEST_FILE}", reason, "backbone_width")
    n_channels = manifest.preprocessing.n_channels
    if n_channels != len(spec.mean):
        reason = f"its preprocessing gives {n_channels} channels, but {spec.name} reads {len(spec.mean)}"
        raise refused(f"{path}: {MANIFEST_FILE}", reason, "backbone_channels")


def _parse_calibration(content: bytes, manifest: Manifest, source: str) -> Calibration:
    try:
        calibration = Calibration.model_validate(parse_json(content, source))
    except ValidationError as error:
        raise refused(source, describe_validation(error), "calibration") from error
    unknown = calibration.root.keys() - set(manifest.finding_keys)
    if unknown:
        raise refused(source, f"keys that the model does not predict: {', '.join(sorted(unknown)[:5])}", "calibration")
    return calibration


def _tensor_bytes(classifier: MoLREClassifier, adapter: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    state = classifier.state_dict() | {ADAPTER_PREFIX + name: tensor for name, tensor in adapter.items()}
    content: bytes = save({name: tensor.detach().float().cpu().contiguous() for name, tensor in state.items()})
    return content


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _not_written(folder: Path, reason: str) -> PackageError:
    return PackageError(
        f"The folder {folder} was not written: {reason}.",
        hint="Choose another folder, or make room and check its permissions.",
        code="package.not_written",
        kind="environment",
    )
