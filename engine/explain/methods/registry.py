"""The methods of this package, by the keys of `engine.explain.maps.METHODS`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.errors import InferenceError
from engine.explain import methods
from engine.explain.maps import METHODS, MethodKey, SliceMapRequest
from engine.explain.subject import Subject
from engine.progress import Context


@dataclass(frozen=True, eq=False)
class RawMap:
    """What a method computes; the fields are those of `engine.explain.maps.SliceMap`."""

    values: NDArray[np.float32]
    exact: bool
    residual: float | None
    note: str


@dataclass(frozen=True)
class Method:
    """A method's file holds one as ``METHOD``."""

    key: MethodKey
    compute: Callable[[Subject, SliceMapRequest, Context], RawMap]


@lru_cache(maxsize=1)
def registry() -> Mapping[str, Method]:
    """Return all methods by key.

    Raises
    ------
    ValueError
        If two files have the same key, or the keys are not those of `METHODS`: a programming error.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(methods.__path__) if module.name != "registry")
    found: list[Method] = [importlib.import_module(f"{methods.__name__}.{name}").METHOD for name in names]
    by_key = {method.key: method for method in found}
    if len(by_key) != len(found) or by_key.keys() != METHODS.keys():
        raise ValueError(f"the files of {methods.__name__} are {sorted(m.key for m in found)}, not {sorted(METHODS)}")
    return {key: by_key[key] for key in METHODS}


def method(key: str) -> Method:
    """Return one method.

    Raises
    ------
    InferenceError
        If there is none with this key.
    """
    known = registry()
    if key not in known:
        raise InferenceError(
            f"The map cannot be made: the method {key} is not known.",
            hint=f"Choose one of {', '.join(known)}.",
            code="explain.method",
        )
    return known[key]
