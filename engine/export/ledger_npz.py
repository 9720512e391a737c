"""The exact ledger of one run, as ``infer --ledger`` writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.analysis import Ledger
from engine.export.atomic import write_npz_atomic


def write_ledger_npz(ledger: Ledger, path: Path) -> None:
    """Write ``keys`` (C,) text, ``ledger`` (C, S, 1 + K), ``bias`` (C,) and ``logits`` (C,), the numbers float32.

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
    write_npz_atomic(path, arrays)
