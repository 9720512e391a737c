"""Backbones of their real size with random weights, for benchmarks: speed and memory do not depend on them.

Run by itself it names those that can be had so.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import default_registry
from engine.models.backbones.weights import RECORD_FILE, WEIGHTS_FILE, BackboneRecord, BackboneStore, StoredBackbone

_NO_DIGEST = "0" * 64


def random_backbone(name: str) -> Backbone:
    """Build a backbone as the program does, from a file of weights that are the network's own random ones."""
    with TemporaryDirectory() as folder:
        return Backbone(default_registry().entry(name), store_random(name, Path(folder)))


def store_random(name: str, root: Path) -> StoredBackbone:
    """Write a network's random weights into a store, where a user's would be."""
    torch.manual_seed(0)
    folder = BackboneStore(root).folder(name, _NO_DIGEST)
    folder.mkdir()
    network = default_registry().entry(name).build_network()
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, folder / WEIGHTS_FILE)
    record = BackboneRecord(
        name=name,
        weights_digest=_NO_DIGEST,
        source_name="random",
        source_digest=_NO_DIGEST,
        licence="none",
        origin="random",
        accepted=datetime.now(UTC),
        n_parameters=sum(tensor.numel() for tensor in network.parameters()),
    )
    (folder / RECORD_FILE).write_text(record.model_dump_json(), encoding="utf-8")
    return StoredBackbone(folder, record)


def main() -> int:
    for name, entry in sorted(default_registry().items()):
        if not entry.needs_config and not name.endswith(":"):
            print(f"{name}: {entry.spec.display_name}, {entry.spec.native_size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
