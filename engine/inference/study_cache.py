"""What is kept of a study on disk: its prepared volume and its slice features, under all that decides their bytes."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from engine.geometry import Volume
from engine.inference.array_cache import ArrayCache, Arrays, CacheError, array_digest, array_key, code_digest
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec
from engine.progress import NULL_CONTEXT, Context

_PREPARING = ("engine.preprocess", "engine.geometry")
_PREPARING_LIBRARIES = ("numpy", "scipy")
_FEATURE_CODE = (
    "engine.models.backbones",
    "engine.models.lora",
    "engine.preprocess.windows",
    "engine.inference.features",
    "engine.inference.precision",
    "engine.inference.openvino_runtime",
)
_FEATURE_LIBRARIES = ("torch", "timm", "openvino")
_FEATURES = "features"


def prepare_cached(
    volume: Volume, spec: PreprocessSpec, cache: ArrayCache | None, context: Context = NULL_CONTEXT
) -> PreparedVolume:
    """Prepare a volume, or return the same bytes from the cache; one that cannot be written is among the warnings.

    Raises
    ------
    InferenceError, GeometryError, Cancelled
        As `engine.preprocess.prepare.prepare`.
    """
    if cache is None:
        return prepare(volume, spec, context)
    key = prepared_key(volume, spec)
    found = cache.get(key)
    prepared = None if found is None else _unpack_prepared(found)
    if prepared is not None:
        return prepared
    prepared = prepare(volume, spec, context)
    packed = _pack_prepared(prepared)
    try:
        cache.put(key, packed.arrays, packed.text)
    except CacheError as error:
        return replace(prepared, warnings=(*prepared.warnings, error.message))
    return prepared


def prepared_key(volume: Volume, spec: PreprocessSpec) -> str:
    """Return the key of a prepared volume: voxels, geometry, padding, units, spec, and the code that prepares."""
    geometry = volume.require_geometry()
    places = (geometry.row_cosine_lps, geometry.column_cosine_lps, geometry.origins_lps_mm)
    facts = {
        "voxels": array_digest(volume.voxels),
        "geometry": [array_digest(*places), *geometry.pixel_spacing_mm, *geometry.shape],
        "padding": volume.padding_value,
        "units": volume.units,
        "spec": spec.model_dump(mode="json"),
        "code": _code(_PREPARING, _PREPARING_LIBRARIES),
    }
    return array_key("prepared", facts)


def features_key(prepared: PreparedVolume, network: Mapping[str, Any]) -> str:
    """Return the key of a study's slice features.

    Parameters
    ----------
    prepared
        Its voxels and windows are what the network sees.
    network
        Plain facts about who computes: weights, adapter, device, precision, batch rule.
    """
    facts = {
        "voxels": array_digest(prepared.voxels_hu),
        "spec": prepared.spec.model_dump(mode="json"),
        "network": dict(network),
        "code": _code(_FEATURE_CODE, _FEATURE_LIBRARIES),
    }
    return array_key(_FEATURES, facts)


def cached_features(cache: ArrayCache, key: str) -> NDArray[np.float32] | None:
    """Return features (S, D) from the cache; None if they are not there."""
    found = cache.get(key)
    return None if found is None else found.arrays.get(_FEATURES)


def keep_features(cache: ArrayCache, key: str, features_SD: NDArray[np.float32]) -> None:
    """Keep the features of a study; CacheError if that fails."""
    cache.put(key, {_FEATURES: features_SD})


def _pack_prepared(prepared: PreparedVolume) -> Arrays:
    """Take a prepared volume apart by its fields: arrays as they are, the rest as JSON."""
    arrays: dict[str, NDArray[Any]] = {}
    text: dict[str, str] = {}
    for name, hint in _prepared_fields().items():
        value = getattr(prepared, name)
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            text[name] = TypeAdapter(hint).dump_json(value).decode("utf-8")
    return Arrays(arrays, text)


def _unpack_prepared(entry: Arrays) -> PreparedVolume | None:
    """Put a prepared volume together; None if the entry is of other fields than today's."""
    values: dict[str, Any] = dict(entry.arrays)
    try:
        for name, hint in _prepared_fields().items():
            if name not in values:
                values[name] = TypeAdapter(hint).validate_json(entry.text[name])
        return PreparedVolume(**values)
    except (KeyError, TypeError, ValidationError):
        return None


@lru_cache(maxsize=1)
def _prepared_fields() -> dict[str, Any]:
    hints = get_type_hints(PreparedVolume)
    return {field.name: hints[field.name] for field in fields(PreparedVolume)}


@lru_cache(maxsize=4)
def _code(modules: tuple[str, ...], libraries: tuple[str, ...]) -> str:
    """Name the code that computes: our own by its source, the libraries under it by their versions."""
    versions = {name: _version(name) for name in libraries}
    return code_digest(modules) + json.dumps(versions, sort_keys=True)


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""  # openvino is optional.
