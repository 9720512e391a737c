"""Why a reader differs from the model, or is unsure: closed lists, so that answers can be counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from engine.store.records import GivenVerdict

ReasonKind = Literal["false_positive", "missed", "unsure"]


@dataclass(frozen=True)
class Reason:
    """One reason: the code that is stored and the words that are shown."""

    code: str
    label: str


OTHER = Reason("other", "Other (see comment)")
REASONS: Mapping[ReasonKind, tuple[Reason, ...]] = MappingProxyType(
    {
        "false_positive": (
            Reason("artefact", "Artefact"),
            Reason("motion", "Motion"),
            Reason("calcification", "Calcification"),
            Reason("partial_volume", "Partial volume"),
            Reason("normal_variant", "Normal variant"),
            Reason("post_operative", "Post-operative change"),
            Reason("chronic", "Old or chronic"),
            Reason("device", "Device or implant"),
            Reason("other_finding", "Another finding explains it"),
            OTHER,
        ),
        "missed": (
            Reason("subtle", "Subtle"),
            Reason("small", "Small"),
            Reason("location", "Unusual location"),
            Reason("edge", "At the edge of the scan, or on few slices"),
            Reason("artefact", "Hidden by an artefact"),
            Reason("other_finding", "Hidden by another finding"),
            Reason("atypical", "Atypical appearance"),
            OTHER,
        ),
        "unsure": (
            Reason("quality", "Image quality"),
            Reason("subtle", "Too subtle"),
            Reason("needs_prior", "Needs a prior study"),
            Reason("needs_contrast", "Needs contrast or MRI"),
            Reason("needs_clinical", "Needs clinical information"),
            OTHER,
        ),
    }
)


def reason_kind(verdict: GivenVerdict, present: bool | None, probability: float | None) -> ReasonKind | None:
    """Return which list of reasons fits a statement; None where the reader has nothing to explain.

    Parameters
    ----------
    verdict, present
        The answer to the model, and the reader's own statement.
    probability
        The model's; None where it said nothing, and then a finding that is present was missed.
    """
    if verdict == "unsure":
        return "unsure"
    if present and (verdict == "disagree" or probability is None):
        return "missed"
    return "false_positive" if verdict == "disagree" and present is False else None
