"""A package's adapters as a PEFT folder, and a PEFT folder as a new package.

Beside PEFT's two files the folder holds what PEFT has no place for: ``molre.safetensors``, the mixture with its router,
the pooling query and the head, and ``molre.json``, what they are. PEFT ignores both.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import Field, ValidationError

from engine.config import FrozenConfig, describe_validation
from engine.errors import PackageError
from engine.models.backbones.registry import BackboneRegistry, default_registry
from engine.models.calibration import Calibration
from engine.models.classifier import MoLREClassifier
from engine.models.lora import ends_in, inject_lora, module_names, network_adapters
from engine.models.manifest import BackboneReference, LoraReference, Manifest, ManifestDraft, TrainingRecord, parse_json
from engine.models.package import LoadedPackage, load_package, new_folder, write_files, write_package
from engine.models.peft_folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Factors,
    factors_by_module,
    fuse_parts,
    peft_error,
    peft_files,
    read_peft_folder,
    split_fused,
    state_of,
)
from engine.models.settings import LoraSettings, MoLRESettings
from engine.models.tensors import check_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from engine.models.backbones.spec import BackboneSpec

MOLRE_CONFIG_FILE = "molre.json"
MOLRE_WEIGHTS_FILE = "molre.safetensors"
_LINE = 500
_UNTESTED = "Its adapters were imported: not evaluated, not calibrated"


class MoLRERecord(FrozenConfig):
    """What ``molre.json`` states.

    Attributes
    ----------
    package_digest
        The package that was exported.
    backbone, finding_keys, molre, fusion_hidden
        As in its manifest: without the router's sizes and the findings' order the tensors mean nothing.
    lora
        Its settings, which tell the adapters on thirds of a fused layer from those on the whole.
    """

    schema_version: int = Field(default=1, ge=1, le=1)
    package_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    backbone: BackboneReference
    finding_keys: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    molre: MoLRESettings | None
    fusion_hidden: int | None = None
    lora: LoraSettings


@dataclass(frozen=True, eq=False)
class _Imported:
    """What a folder gives: LoRA as this program has it and, where it holds one, the trained part."""

    settings: LoraSettings
    state: Mapping[str, Tensor]
    record: MoLRERecord | None


def export_adapter(package: LoadedPackage, folder: Path) -> None:
    """Write a package's adapters as a folder that ``peft.PeftModel.from_pretrained`` loads onto the plain network.

    Raises
    ------
    PackageError
        If the package has no adapters, or the folder exists or cannot be written (kind ``environment``).
    """
    from safetensors.torch import save

    manifest = package.manifest
    if manifest.lora is None:
        raise PackageError(
            f"{package.path}: {manifest.name} has no LoRA adapters to export; nothing was written.",
            hint="Choose a model whose backbone was adapted; models show names its adapters under lora.",
            code="adapter.none",
        )
    settings = manifest.lora.settings
    record = MoLRERecord(
        package_digest=manifest.digest,
        backbone=manifest.backbone,
        finding_keys=manifest.finding_keys,
        molre=manifest.molre,
        fusion_hidden=manifest.fusion_hidden,
        lora=settings,
    )
    trained = {name: tensor.contiguous() for name, tensor in package.classifier.state_dict().items()}
    modules = fuse_parts(factors_by_module(settings, package.adapter))
    with new_folder(folder) as temporary:
        contents = peft_files(modules, settings)
        contents[MOLRE_CONFIG_FILE] = (record.model_dump_json(indent=2) + "\n").encode()
        contents[MOLRE_WEIGHTS_FILE] = save(trained)
        write_files(temporary, contents)


def import_adapter(
    base: Path, folder: Path, out: Path, *, name: str | None = None, registry: BackboneRegistry | None = None
) -> Manifest:
    """Write a new package: an existing one with the adapters of a PEFT folder, and its trained part if it holds one.

    What was measured and calibrated with other adapters does not hold for the new package, and is left out: it has no
    calibration, no results, and 0.5 as every operating point.

    Parameters
    ----------
    base
        The package that gives everything else.
    folder
        The PEFT folder.
    out
        The new package's folder; must not exist yet.
    name
        The new package's name; the base's by default.
    registry
        Backbones to check against; the installed ones by default.

    Returns
    -------
    Manifest
        The new package's.

    Raises
    ------
    PackageError
        If one of them is damaged, or the folder does not fit the package; the message names what differs.
    """
    registry = registry if registry is not None else default_registry()
    package = load_package(base, registry)
    imported = _read_folder(package.manifest, folder, registry)
    classifier = (
        package.classifier if imported.record is None else _classifier(package.manifest, imported.record, folder)
    )
    draft = _draft(package.manifest, imported, folder, name)
    return write_package(
        out,
        draft,
        classifier,
        calibration=Calibration.model_validate({}),
        metrics={"notice": draft.notice, "verdict": f"{_UNTESTED}."},
        card=_card(draft, package.manifest, imported.record is not None),
        adapter=imported.state,
        registry=registry,
    )


def _read_folder(manifest: Manifest, folder: Path, registry: BackboneRegistry) -> _Imported:
    record = _read_record(folder)
    if record is not None:
        _require_same_model(manifest, record, folder)
    modules, listed = read_peft_folder(folder)
    entry = registry.entry(manifest.backbone.name, manifest.backbone.weights_digest)
    stored = registry.stored(manifest.backbone.name, manifest.backbone.weights_digest)
    with torch.device("meta"):
        network = entry.build_network(None if stored is None else stored.record.config)
    network.eval()
    known = _known_targets(manifest, record, entry.spec)
    _require_modules(modules, dict(network.named_modules()), entry.spec, folder)
    apart = split_fused(modules, known)
    settings = _settings(apart, (known, listed), module_names(network))
    inject_lora(network, entry.spec, settings)
    state = state_of(apart)
    _require_shapes(state, network_adapters(network), folder)
    return _Imported(settings, state, record)


def _known_targets(manifest: Manifest, record: MoLRERecord | None, spec: BackboneSpec) -> tuple[str, ...]:
    """Return the targets that are expected: the exported package's, else the base's, else the backbone's."""
    exported = None if record is None else record.lora
    own = None if manifest.lora is None else manifest.lora.settings
    for settings in (exported, own):
        if settings is not None and settings.targets is not None:
            return settings.targets
    return spec.lora_targets


def _settings(
    modules: Mapping[str, Factors], candidates: Iterable[Sequence[str]], names: Sequence[str]
) -> LoraSettings:
    """Say in settings which modules have adapters, of which rank and α."""
    fitting = (
        tuple(targets)
        for targets in candidates
        if {name for name in names if any(ends_in(name, target) for target in targets)} == modules.keys()
    )
    (rank, alpha), _ = Counter((item.rank, item.alpha) for item in modules.values()).most_common(1)[0]
    return LoraSettings(
        rank=rank,
        alpha=alpha,
        targets=next(fitting, tuple(modules)),
        rank_pattern={name: item.rank for name, item in modules.items() if item.rank != rank},
        alpha_pattern={name: item.alpha for name, item in modules.items() if item.alpha != alpha},
    )


def _require_modules(modules: Iterable[str], known: Mapping[str, object], spec: BackboneSpec, folder: Path) -> None:
    unknown = [name for name in modules if name not in known]
    if unknown:
        reason = f"{spec.display_name} has no {', '.join(unknown[:5])} ({len(unknown)} such modules)"
        raise peft_error(f"{folder / WEIGHTS_FILE}", reason, "modules")


def _require_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], folder: Path) -> None:
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            reason = f"{name} is {list(tensor.shape)} where the backbone needs {list(expected[name].shape)}"
            raise peft_error(f"{folder / WEIGHTS_FILE}", reason, "shape")


def _read_record(folder: Path) -> MoLRERecord | None:
    """Read ``molre.json``; None where the folder is PEFT's alone."""
    path, weights = folder / MOLRE_CONFIG_FILE, folder / MOLRE_WEIGHTS_FILE
    present = [item.exists() for item in (path, weights)]
    if not any(present):
        return None
    if not all(present):
        raise peft_error(str(folder), f"of {path.name} and {weights.name} one is missing", "missing")
    try:
        return MoLRERecord.model_validate(parse_json(path.read_bytes(), str(path)))
    except OSError as error:
        raise peft_error(str(path), f"it cannot be read ({error.strerror})", "missing") from error
    except ValidationError as error:
        raise peft_error(str(path), describe_validation(error), "config") from error


def _require_same_model(manifest: Manifest, record: MoLRERecord, folder: Path) -> None:
    """Refuse a trained part for another backbone, or for other findings than the package states."""
    source = str(folder / MOLRE_CONFIG_FILE)
    if record.backbone != manifest.backbone:
        theirs, ours = (f"{item.name} {item.weights_digest[:12]}…" for item in (record.backbone, manifest.backbone))
        raise peft_error(source, f"it is for the backbone {theirs}, the package for {ours}", "backbone")
    if record.finding_keys != manifest.finding_keys:
        differing = sorted(set(record.finding_keys) ^ set(manifest.finding_keys)) or ["their order"]
        raise peft_error(source, f"its findings are not the package's: {', '.join(differing[:5])}", "findings")


def _classifier(manifest: Manifest, record: MoLRERecord, folder: Path) -> MoLREClassifier:
    """Make the trained part of the folder, its tensors checked as those of a package are."""
    from safetensors.torch import load

    path = folder / MOLRE_WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise peft_error(str(path), f"it cannot be read ({error.strerror})", "missing") from error
    sizes = {"molre": record.molre, "fusion_hidden": record.fusion_hidden, "lora": None}
    check_tensors(content, manifest.model_copy(update=sizes), str(path))
    classifier = MoLREClassifier(
        manifest.backbone.feature_width, len(manifest.finding_keys), record.molre, fusion_hidden=record.fusion_hidden
    )
    classifier.load_state_dict(load(content))
    return classifier.eval()


def _draft(base: Manifest, imported: _Imported, folder: Path, name: str | None) -> ManifestDraft:
    stated = {field: getattr(base, field) for field in ManifestDraft.model_fields if field != "created"}
    if imported.record is not None:
        stated |= {"molre": imported.record.molre, "fusion_hidden": imported.record.fusion_hidden}
    shapes = {tensor_name: tuple(tensor.shape) for tensor_name, tensor in imported.state.items()}
    return ManifestDraft(
        **stated
        | {
            "name": name if name is not None else base.name,
            "notice": f"{base.notice.rstrip('.')[: _LINE - len(_UNTESTED) - 2]}. {_UNTESTED}",
            "lora": LoraReference(settings=imported.settings, tensors=shapes),
            "operating_points": dict.fromkeys(base.finding_keys, 0.5),
            "training": TrainingRecord(
                description="Adapters imported from a PEFT folder; the digest is of its files, not of training data",
                data_digest=_folder_digest(folder),
                seed=0,
                parent_digest=base.digest,
                trained_on=f"what the adapters were trained on is not known here; before: {base.training.trained_on}"[
                    :_LINE
                ],
            ),
        }
    )


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE, MOLRE_CONFIG_FILE, MOLRE_WEIGHTS_FILE):
        if (folder / name).exists():
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _card(draft: ManifestDraft, base: Manifest, with_trained_part: bool) -> str:
    trained = "the folder" if with_trained_part else f"`{base.name}`, which was trained with other adapters"
    return f"""# {draft.name} {draft.version}

**{draft.notice}.** Research use only. Not a medical device; not for diagnosis.

A child of `{base.name}` (manifest digest `{base.digest}`). The backbone's LoRA adapters are those of a PEFT folder;
mixture, router, pooling query and head are those of {trained}.

Nothing was measured and nothing calibrated: every operating point is 0.5 on the uncalibrated probability. The limits on
the parent's card hold for this model too.
"""
