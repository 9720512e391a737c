"""What a labeller takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.progress import NULL_CONTEXT, Context

PRESENT = 1
ABSENT = 0
UNKNOWN = -1

Labels = Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes
    ----------
    identifier
        What the own table calls the study: its path. May name a patient, so it goes into the table and nowhere else.
    text
        The whole report, or its impression.
    patient
        The table's patient column, carried over; empty where there is none.
    line
        The line of the table, or the number of the file in the folder's order, that messages may name.
    """

    identifier: str = field(repr=False)
    text: str = field(repr=False)
    patient: str = field(default="", repr=False)
    line: int = 0


@dataclass(frozen=True)
class Spent:
    """What labelling took.

    Attributes
    ----------
    requests, cached
        Requests sent, retries among them, and answers that the cache gave.
    input_tokens, output_tokens
        As the endpoint counted them; of its unusable answers too.
    uncounted
        Answers in which the endpoint counted nothing: tokens and cost are then a lower bound.
    cost
        Tokens at the configured price; None where no price is configured.
    currency
        Of the cost.
    seconds_s
        Wall time.
    """

    requests: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None
    currency: str = ""
    seconds_s: float = 0.0


@dataclass(frozen=True)
class LabelRun:
    """The result of a run.

    Attributes
    ----------
    labels
        By report, in the order given: every finding of the catalogue with 1, 0 or -1.
    without_impression
        How many reports have sections but no impression, or no text at all: all of their labels are unknown.
    failed_batches
        By line of the report, how many of its batches got no usable answer: those labels are unknown.
    spent
        Requests, tokens, cost and time.
    """

    labels: tuple[Labels, ...]
    without_impression: int
    failed_batches: Mapping[int, int]
    spent: Spent


class Labeller(Protocol):
    """Labels reports, by rules or by a language model."""

    def label(self, reports: Sequence[Report], context: Context = NULL_CONTEXT) -> LabelRun:
        """Label every report from its impression."""
