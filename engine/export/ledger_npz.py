"""The exact ledger of one run, as ``infer --ledger`` writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.analysis import Counterfactual, Ledger
from engine.export.atomic import write_npz_atomic


def write_ledger_npz(ledger: Ledger, path: Path, counterfactual: Counterfactual | None = None) -> None:
    """Write ``keys`` (C,) text, ``ledger`` (C, S, 1 + K), ``bias`` (C,) and ``logits`` (C,), the numbers float32.

    With the counterfactual also ``without_slice`` (C, S) and ``without_expert`` (C, K): the logits that the study
    would have without that slice or expert, NaN where nothing would be left.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    arrays = {
        "keys": np.array(ledger.keys, dtype=np.str_),
        "ledger": ledger.values,
        "bias": ledger.bias,
        "logits": ledger.logits,
    }
    if counterfactual is not None:
        arrays |= {
            "without_slice": counterfactual.without_slice,
            "without_expert": counterfactual.without_expert,
        }
    write_npz_atomic(path, arrays)
