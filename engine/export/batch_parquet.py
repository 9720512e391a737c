"""The results of a batch as one Parquet table: a row a series, columns of numbers for every finding of the model.

pyarrow is imported where it is used: nothing else needs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.analysis import RESEARCH_NOTICE, ModelIdentity
from engine.errors import ExportError
from engine.export.atomic import replacing

if TYPE_CHECKING:
    import pyarrow

PARQUET_FILE = "results.parquet"
ROWS_PER_GROUP = 256
_FINDING_NUMBERS = ("logit", "probability", "calibrated_probability", "operating_point")
_TIMINGS = ("read", "prepare", "backbone", "head", "total")


def write_parquet(path: Path, results: Iterable[dict[str, Any]], keys: Sequence[str], model: ModelIdentity) -> None:
    """Write a table; the file is whole or what was there before stays.

    Columns: ``study_instance_uid``, ``series_instance_uid``, ``source``, ``device``, ``acquired_slices``,
    ``prepared_slices`` (1 where ``unit`` is ``volume``), ``unit``, ``tilt_deg``, ``warnings``, ``read_s`` …
    ``total_s``, and for every finding key ``<key>.logit``, ``.probability``, ``.calibrated_probability``,
    ``.operating_point`` and ``.positive``. The model and its notice stand in the schema's metadata.

    Parameters
    ----------
    path
        The file.
    results
        Documents of ``results.jsonl``; taken in groups, so that any number fits the memory.
    keys
        The findings that the model predicts.
    model
        Who predicted.

    Raises
    ------
    ExportError
        If the file cannot be written, or a document is none of ours.
    """
    import pyarrow
    from pyarrow import parquet

    schema = _schema(keys, model)
    rows = (_row(document, keys) for document in results)
    try:
        with replacing(path) as stream, parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
            while group := list(islice(rows, ROWS_PER_GROUP)):
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
    except (KeyError, TypeError, pyarrow.ArrowInvalid) as error:
        raise ExportError(
            f"{path} was not written: a result does not have the fields of a result ({type(error).__name__}).",
            hint="Was results.jsonl changed by hand? Choose another folder and run again.",
            code="batch.damaged",
        ) from error


def _schema(keys: Sequence[str], model: ModelIdentity) -> pyarrow.Schema:
    import pyarrow as pa

    fields = [(name, pa.string()) for name in ("study_instance_uid", "series_instance_uid", "source", "device")]
    fields += [(name, pa.int32()) for name in ("acquired_slices", "prepared_slices")]
    fields += [("unit", pa.string()), ("tilt_deg", pa.float64()), ("warnings", pa.list_(pa.string()))]
    fields += [(f"{name}_s", pa.float64()) for name in _TIMINGS]
    for key in keys:
        fields += [(f"{key}.{name}", pa.float64()) for name in _FINDING_NUMBERS]
        fields.append((f"{key}.positive", pa.bool_()))
    metadata = {
        "notice": RESEARCH_NOTICE,
        "model": model.name,
        "model_digest": model.digest,
        "model_notice": model.notice,
        "findings": json.dumps(list(keys)),
    }
    return pa.schema(fields, metadata=metadata)


def _row(document: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    findings = {finding["key"]: finding for finding in document["findings"]}
    row = {name: document[name] for name in ("study_instance_uid", "series_instance_uid", "source", "device")}
    row["acquired_slices"] = document["geometry"]["acquired_slices"]
    row["prepared_slices"] = len(document["slices"])
    row["unit"] = document.get("unit", "slice")
    row["tilt_deg"] = document["geometry"]["tilt_deg"]
    row["warnings"] = document["warnings"]
    row |= {f"{name}_s": document["timings_s"][name] for name in _TIMINGS}
    return row | dict(_cells(findings, keys))


def _cells(findings: dict[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for key in keys:
        for name in (*_FINDING_NUMBERS, "positive"):
            yield f"{key}.{name}", findings[key][name]
