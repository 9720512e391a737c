"""An analysis as the store keeps it: a JSON document and one compressed block of arrays."""

from __future__ import annotations

import io
import json
import zipfile
import zlib

import numpy as np

from engine.analysis import Analysis, Ledger, ModelIdentity
from engine.errors import StoreError


def pack(analysis: Analysis) -> tuple[str, bytes]:
    """Turn an analysis into its document and its arrays.

    Returns
    -------
    tuple
        JSON text, and an ``.npz`` with ``keys`` (C,), ``ledger`` (C, S, 1 + K), ``bias`` (C,), ``logits`` (C,) and
        ``acquired_weights`` (S prepared, S acquired). Equal analyses give equal bytes.

    Raises
    ------
    StoreError
        If a number is not finite: such a result may be neither kept nor shown.
    """
    try:
        document = json.dumps(analysis.to_json(), ensure_ascii=False, allow_nan=False)
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
            return Analysis.from_json(json.loads(document), ledger, stored["acquired_weights"])
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(
            f"A stored analysis in {name} is damaged and cannot be shown.",
            hint="Analyse the series again.",
            code="store.analysis.damaged",
        ) from error


def stored_model(document: str, name: str, digest: str) -> ModelIdentity:
    """Return the model of a stored document; its notice is empty if the document is damaged.

    Statements must stay exportable even where the analysis that they answered to cannot be read any more.
    """
    try:
        notice = json.loads(document)["model"]["notice"]
    except (KeyError, TypeError, ValueError):
        notice = ""
    return ModelIdentity(name, digest, notice if isinstance(notice, str) else "")
