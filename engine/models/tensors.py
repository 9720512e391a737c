"""The tensors of a package, checked through the safetensors header. No torch here."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from engine.models.manifest import Manifest, refused, unique_pairs
from engine.models.settings import MoLRESettings

ADAPTER_PREFIX = "adapter."
_LENGTH_BYTES = 8
_MAX_HEADER = 4 * 2**20
_DTYPE = "F32"


def expected_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a package with this manifest holds, by name."""
    width, n_findings = manifest.backbone.feature_width, len(manifest.finding_keys)
    head_width = manifest.fusion_hidden or width
    shapes: dict[str, tuple[int, ...]] = {
        "pooling.query_D": (width,),
        "head.weight": (n_findings, head_width),
        "head.bias": (n_findings,),
    }
    if manifest.molre is not None:
        shapes |= _molre_shapes(manifest.molre, width)
    if manifest.fusion_hidden is not None:
        shapes |= {"fusion.weight": (head_width, width), "fusion.bias": (head_width,)}
    adapters = manifest.lora.tensors if manifest.lora else {}
    return shapes | {ADAPTER_PREFIX + name: shape for name, shape in adapters.items()}


def _molre_shapes(sizes: MoLRESettings, width: int) -> dict[str, tuple[int, ...]]:
    return {
        "molre.down_KRD": (sizes.n_experts, sizes.rank, width),
        "molre.up_KDR": (sizes.n_experts, width, sizes.rank),
        "molre.router_hidden.weight": (sizes.hidden, width),
        "molre.router_hidden.bias": (sizes.hidden,),
        "molre.router_out.weight": (sizes.n_experts, sizes.hidden),
        "molre.router_out.bias": (sizes.n_experts,),
    }


def check_tensors(content: bytes, manifest: Manifest, source: str) -> None:
    """Check that the file holds exactly the expected tensors: names, float32, shapes, finite values, no gaps.

    Raises
    ------
    PackageError
        If it does not; the message names the first few tensors that differ.
    """
    header, data = _split(content, source)
    expected = expected_shapes(manifest)
    for problem, code, names in (
        ("missing tensors", "missing_tensor", expected.keys() - header.keys()),
        ("unexpected tensors", "extra_tensor", header.keys() - expected.keys()),
    ):
        if names:
            raise refused(source, f"{problem}: {', '.join(sorted(names)[:5])}", code)
    _check_layout(header, len(data), expected, source)
    if not np.isfinite(np.frombuffer(data, dtype="<f4")).all():
        raise refused(source, "a tensor holds values that are not finite", "not_finite")


def _split(content: bytes, source: str) -> tuple[dict[str, Any], bytes]:
    """Separate the header (JSON) from the data."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(_MAX_HEADER, len(content) - _LENGTH_BYTES):
        raise refused(source, "it is not a safetensors file, or it is cut off", "tensor_file")
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length], object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        raise refused(source, "its header is not valid JSON", "tensor_file") from error
    if not isinstance(header, dict):
        raise refused(source, "its header is not a JSON object", "tensor_file")
    header.pop("__metadata__", None)
    return header, content[_LENGTH_BYTES + length :]


def _check_layout(header: dict[str, Any], n_bytes: int, expected: dict[str, tuple[int, ...]], source: str) -> None:
    """Check type, shape and place of every tensor; the places must cover the data without gap or overlap."""
    places: list[tuple[int, int]] = []
    for name, shape in expected.items():
        entry = header[name]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise refused(source, f"the header entry of {name} is not one of safetensors", "tensor_file")
        if entry["dtype"] != _DTYPE or entry["shape"] != list(shape):
            found = f"{entry['dtype']} {entry['shape']}"
            raise refused(source, f"{name} is {found}, not {_DTYPE} {list(shape)}", "tensor_shape")
        begin, end = _place(entry["data_offsets"], name, source)
        if end - begin != 4 * math.prod(shape):
            raise refused(source, f"{name} has {end - begin} bytes", "tensor_file")
        places.append((begin, end))
    places.sort()
    if [0, *(end for _, end in places)] != [*(begin for begin, _ in places), n_bytes]:
        raise refused(source, "its tensors overlap, or bytes belong to none of them", "tensor_file")


def _place(offsets: object, name: str, source: str) -> tuple[int, int]:
    match offsets:
        case [int(begin), int(end)] if 0 <= begin <= end:
            return begin, end
    raise refused(source, f"{name} has no valid place in the file", "tensor_file")
