"""What the classifier says about one series: plain values without torch, shared by window, store and exporters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
LEDGER_TOLERANCE = 1e-4
"""By how much, in logits, the ledger's sum may miss the logit; where it is more, nothing of it may be shown."""
RESEARCH_NOTICE = "Research use only. Not a medical device; not for diagnosis."

Unit = Literal["slice", "volume"]


@dataclass(frozen=True)
class GeometrySummary:
    """The acquired series in numbers: slices, tilt in degrees, spacings along the normal in mm, matrix."""

    acquired_slices: int
    tilt_deg: float
    normal_spacing_mm: tuple[float, ...]
    rows: int
    columns: int


@dataclass(frozen=True)
class ModelIdentity:
    """Which model spoke: name, sha256 of its manifest, and the notice that must stand beside its numbers."""

    name: str
    digest: str
    notice: str


@dataclass(frozen=True)
class FindingResult:
    """One of the 75 findings. Everything after `covered` is None where the model does not predict the key."""

    key: str
    label: str
    category: str
    covered: bool
    logit: float | None
    probability: float | None
    calibrated_probability: float | None
    operating_point: float | None
    positive: bool | None


@dataclass(frozen=True)
class SliceResult:
    """One prepared slice.

    Attributes
    ----------
    index
        Prepared slice index; 0 is the most caudal.
    position_mm
        Position along the cranial axis of the aligned frame.
    sop_instance_uids
        Acquired slices that lie under it, the one with most voxels first.
    attention
        Its attention weight; the weights of a study sum to 1 and are shared by all findings.
    gate_weights
        The router's weights of the K experts; they sum to 1.
    """

    index: int
    position_mm: float
    sop_instance_uids: tuple[str, ...]
    attention: float
    gate_weights: tuple[float, ...]


@dataclass(frozen=True)
class PreparedGrid:
    """Where the prepared slices lie in the patient, so that what is drawn on them can be shown on the acquired ones.

    Attributes
    ----------
    lps_from_kji
        The affine, 4 × 4 by rows: prepared ``(slice, row, column, 1)`` to LPS millimetres.
    shape
        Slices, rows and columns.
    """

    lps_from_kji: tuple[tuple[float, float, float, float], ...]
    shape: tuple[int, int, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"lps_from_kji": [list(row) for row in self.lps_from_kji], "shape": list(self.shape)}


@dataclass(frozen=True, eq=False)
class Ledger:
    """The exact split of every logit over slices × (frozen path + experts).

    Attributes
    ----------
    keys
        C finding keys, in the model's order.
    values
        float32 (C, S, 1 + K); column 0 is the frozen path, column k the k-th expert. Summed over the last two
        axes, plus `bias`, it gives `logits`.
    bias, logits
        float32 (C,).
    """

    keys: tuple[str, ...]
    values: NDArray[np.float32]
    bias: NDArray[np.float32]
    logits: NDArray[np.float32]

    def error(self, key: str) -> float:
        """Return by how much a finding's entries and bias miss its logit; KeyError for a finding that it lacks."""
        if key not in self.keys:
            raise KeyError(key)
        row = self.keys.index(key)
        total = float(self.values[row].sum(dtype=np.float64)) + float(self.bias[row])
        return abs(total - float(self.logits[row]))


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """The logits as they would be without one slice, or without one expert: computed, not approximated.

    Attributes
    ----------
    without_slice
        float32 (C, S): logits with slice s left out of the pooling, attention renormalised over the others. A study
        of one slice has none without it: its column is NaN.
    without_expert
        float32 (C, K): logits with the term of expert k left out; the other gates stay as they were routed, and
        attention follows the changed features.
    """

    without_slice: NDArray[np.float32]
    without_expert: NDArray[np.float32]


@dataclass(frozen=True)
class Timings:
    """Seconds spent in each step."""

    read: float
    prepare: float
    backbone: float
    head: float
    total: float


@dataclass(frozen=True, eq=False)
class Analysis:
    """One run of one model on one series.

    Attributes
    ----------
    findings
        All 75, in catalogue order.
    acquired_weights
        float32 (S prepared, S acquired): the share of each acquired slice in each prepared slice; rows sum to 1
        (a row of zeros has no acquired voxels). ``attention @ acquired_weights`` is the attention on acquired slices.
    unit
        What one entry of `slices` is: a slice, or, with a model that takes the whole volume at once, the volume.
    counterfactual
        Findings in the order of ``ledger.keys``; None where it was not computed.
    pooled_feature
        float32 (D,): the attention-weighted mean of the slices' features, by which similar studies are found; None
        where it was not kept.
    """

    study_instance_uid: str
    series_instance_uid: str
    geometry: GeometrySummary
    model: ModelIdentity
    device: str
    findings: tuple[FindingResult, ...]
    slices: tuple[SliceResult, ...]
    ledger: Ledger
    acquired_weights: NDArray[np.float32]
    warnings: tuple[str, ...]
    timings_s: Timings
    unit: Unit = "slice"
    counterfactual: Counterfactual | None = None
    pooled_feature: NDArray[np.float32] | None = None
    prepared_grid: PreparedGrid | None = None
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def finding(self, key: str) -> FindingResult:
        """Return the result for one key; KeyError if the catalogue has no such key."""
        for finding in self.findings:
            if finding.key == key:
                return finding
        raise KeyError(key)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``infer --out`` writes; plain types only, stable key order."""
        return {
            "schema_version": SCHEMA_VERSION,
            "research_use_only": RESEARCH_NOTICE,
            "study_instance_uid": self.study_instance_uid,
            "series_instance_uid": self.series_instance_uid,
            "geometry": _plain(self.geometry),
            "model": _plain(self.model),
            "device": self.device,
            "unit": self.unit,
            "prepared_grid": None if self.prepared_grid is None else self.prepared_grid.to_json(),
            "calibration": {key: list(line) for key, line in self.calibration.items()},
            "findings": [_plain(finding) for finding in self.findings],
            "slices": [_plain(item) for item in self.slices],
            "bias": {key: float(value) for key, value in zip(self.ledger.keys, self.ledger.bias, strict=True)},
            "warnings": list(self.warnings),
            "timings_s": _plain(self.timings_s),
        }

    @classmethod
    def from_json(
        cls,
        document: dict[str, Any],
        ledger: Ledger,
        acquired_weights: NDArray[np.float32],
        *,
        counterfactual: Counterfactual | None = None,
        pooled_feature: NDArray[np.float32] | None = None,
    ) -> Analysis:
        """Rebuild an analysis from its document and arrays, as the store keeps them; older ones name no unit.

        Raises
        ------
        KeyError, TypeError
            If the document is not one that `to_json` wrote.
        """
        return cls(
            study_instance_uid=document["study_instance_uid"],
            series_instance_uid=document["series_instance_uid"],
            geometry=GeometrySummary(
                **{
                    **document["geometry"],
                    "normal_spacing_mm": tuple(document["geometry"]["normal_spacing_mm"]),
                }
            ),
            model=ModelIdentity(**document["model"]),
            device=document["device"],
            findings=tuple(FindingResult(**item) for item in document["findings"]),
            slices=tuple(
                SliceResult(
                    **{
                        **item,
                        "sop_instance_uids": tuple(item["sop_instance_uids"]),
                        "gate_weights": tuple(item["gate_weights"]),
                    }
                )
                for item in document["slices"]
            ),
            ledger=ledger,
            acquired_weights=acquired_weights,
            warnings=tuple(document["warnings"]),
            timings_s=Timings(**document["timings_s"]),
            unit=document.get("unit", "slice"),
            counterfactual=counterfactual,
            pooled_feature=pooled_feature,
            prepared_grid=_grid(document.get("prepared_grid")),
            calibration={key: (line[0], line[1]) for key, line in document.get("calibration", {}).items()},
        )


def _grid(document: dict[str, Any] | None) -> PreparedGrid | None:
    if document is None:
        return None
    rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in document["lps_from_kji"])
    slices, height, width = document["shape"]
    return PreparedGrid(rows, (slices, height, width))


def _plain(value: Any) -> dict[str, Any]:
    """Turn a frozen dataclass of plain values into a dict with lists in place of tuples."""
    document = asdict(value)
    return {
        field.name: list(document[field.name]) if isinstance(document[field.name], tuple) else document[field.name]
        for field in fields(value)
    }
