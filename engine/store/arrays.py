"""An analysis as the store keeps it: a JSON document and one compressed block of arrays."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.analysis import Analysis, Counterfactual, Ledger, ModelIdentity
from engine.errors import StoreError


def pack(analysis: Analysis) -> tuple[str, bytes]:
    """Turn an analysis into its document and its arrays.

    Returns
    -------
    tuple
        JSON text, and an ``.npz`` with ``keys`` (C,), ``ledger`` (C, S, 1 + K), ``bias`` (C,), ``logits`` (C,) and
        ``acquired_weights`` (S prepared, S acquired); where the analysis has them also ``without_slice`` (C, S),
        ``without_expert`` (C, K) and ``pooled_feature`` (D,). Equal analyses give equal bytes.

    Raises
    ------
    StoreError
        If a number is not finite: such a result may be neither kept nor shown.
    """
    try:
        document = json.dumps(analysis.to_json(), ensure_ascii=False, allow_nan=False)
        _require_finite(_optional_arrays(analysis))
    except ValueError as error:
        raise StoreError(
            f"The analysis of series {analysis.series_instance_uid} was not stored: it holds a number that is "
            "not finite.",
            hint="Run the analysis again; if it recurs, the model package is at fault.",
            code="store.analysis.not_finite",
        ) from error
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        keys=np.array(analysis.ledger.keys, dtype=np.str_),
        ledger=analysis.ledger.values,
        bias=analysis.ledger.bias,
        logits=analysis.ledger.logits,
        acquired_weights=analysis.acquired_weights,
        **cast("dict[str, Any]", _optional_arrays(analysis)),  # numpy's stub takes any extra keyword for `allow_pickle`
    )
    return document, buffer.getvalue()


def unpack(document: str, arrays: bytes, name: str) -> Analysis:
    """Rebuild what `pack` took apart; nothing is ever unpickled.

    Raises
    ------
    StoreError
        If the stored document or arrays are damaged.
    """
    try:
        with np.load(io.BytesIO(arrays), allow_pickle=False) as stored:
            ledger = Ledger(
                keys=tuple(str(key) for key in stored["keys"]),
                values=stored["ledger"],
                bias=stored["bias"],
                logits=stored["logits"],
            )
            return Analysis.from_json(
                json.loads(document),
                ledger,
                stored["acquired_weights"],
                counterfactual=Counterfactual(stored["without_slice"], stored["without_expert"])
                if "without_slice" in stored
                else None,
                pooled_feature=stored.get("pooled_feature"),
            )
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(
            f"A stored analysis in {name} is damaged and cannot be shown.",
            hint="Analyse the series again.",
            code="store.analysis.damaged",
        ) from error


def _optional_arrays(analysis: Analysis) -> dict[str, NDArray[np.float32]]:
    arrays: dict[str, NDArray[np.float32]] = {}
    if analysis.counterfactual is not None:
        arrays["without_slice"] = analysis.counterfactual.without_slice
        arrays["without_expert"] = analysis.counterfactual.without_expert
    if analysis.pooled_feature is not None:
        arrays["pooled_feature"] = analysis.pooled_feature
    return {name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()}


def _require_finite(arrays: dict[str, NDArray[np.float32]]) -> None:
    for name, values in arrays.items():
        # Without its only slice a study has no logit: there NaN is the answer, not a failure.
        defined = values[~np.isnan(values)] if name == "without_slice" else values
        if not np.isfinite(defined).all():
            raise ValueError(f"{name} is not finite")


def stored_model(document: str, name: str, digest: str) -> ModelIdentity:
    """Return the model of a stored document; its notice is empty if the document is damaged.

    Statements must stay exportable even where the analysis that they answered to cannot be read any more.
    """
    try:
        notice = json.loads(document)["model"]["notice"]
    except (KeyError, TypeError, ValueError):
        notice = ""
    return ModelIdentity(name, digest, notice if isinstance(notice, str) else "")
