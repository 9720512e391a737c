"""What a reader states on a finding, as the window shows it and as it asks for it to be saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.viewmodels.reading import ReadingMode
from engine.analysis import ModelIdentity
from engine.store.locations import Location
from engine.store.reasons import REASONS, Reason, reason_kind
from engine.store.records import GivenVerdict, Laterality

Answer = Literal["present", "absent", "unsure"]
Relation = Literal["agree", "disagree"]

ANSWER_LABELS: Mapping[Answer, str] = {"present": "Present", "absent": "Absent", "unsure": "Unsure"}
RELATION_LABELS: Mapping[Relation, str] = {"agree": "agrees with the model", "disagree": "differs from the model"}
LATERALITY_LABELS: Mapping[Laterality, str] = {
    "left": "Left",
    "right": "Right",
    "bilateral": "Both sides",
    "midline": "Midline",
    "not_applicable": "No side",
}


@dataclass(frozen=True)
class FeedbackView:
    """The reader's standing statement on one finding; `time_text` is local time for display.

    Attributes
    ----------
    mode
        Whether the reader had seen the model's output.
    before
        What the reader had stated when the model's output was revealed; None where nothing was, or where it never was
        hidden.
    after_reveal
        Whether a blind first read had ended by then; None where there was no session.
    """

    answer: Answer
    reason_code: str = ""
    comment: str = ""
    reader: str = ""
    time_text: str = ""
    laterality: Laterality | None = None
    certainty: int | None = None
    key_images: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()
    mode: ReadingMode = "ai_seen"
    before: Answer | None = None
    after_reveal: bool | None = None

    @property
    def changed(self) -> bool:
        """Whether the reader states something else than before the model's output was revealed."""
        return self.before is not None and self.before != self.answer

    @property
    def history_text(self) -> str:
        """How the statement stands to the blind first read, in words; empty where there was none."""
        if self.changed and self.before is not None:
            return f"Changed after seeing the model; before: {ANSWER_LABELS[self.before].lower()}"
        return "Stated blind" if self.mode == "blind" else ""


@dataclass(frozen=True)
class Draft:
    """What stands in the feedback box for one finding, saved or not; without an answer it cannot be saved."""

    answer: Answer | None = None
    reason_code: str = ""
    comment: str = ""
    laterality: Laterality | None = None
    certainty: int | None = None
    key_images: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()

    @classmethod
    def of(cls, standing: FeedbackView | None) -> Draft:
        """Return what stands."""
        if standing is None:
            return cls()
        return cls(
            standing.answer,
            standing.reason_code,
            standing.comment,
            standing.laterality,
            standing.certainty,
            standing.key_images,
            standing.locations,
        )


@dataclass(frozen=True)
class Statement:
    """A statement to be saved, with what was on the screen in that moment.

    Attributes
    ----------
    sop_instance_uids
        The acquired slice in view; empty without a picture.
    model, probability, positive
        What the reader saw of the model; None in a blind read, and where it says nothing.
    """

    series_uid: str
    finding_key: str
    content: Draft
    mode: ReadingMode
    sop_instance_uids: tuple[str, ...] = ()
    model: ModelIdentity | None = None
    probability: float | None = None
    positive: bool | None = None


def presence(answer: Answer | None) -> bool | None:
    """Return whether an answer says present; None for unsure and for no answer."""
    return {"present": True, "absent": False}.get(answer or "")


def answer_of(present: bool | None) -> Answer:
    """Return the answer that a stored presence stands for."""
    return "unsure" if present is None else ("present" if present else "absent")


def relation(answer: Answer | None, positive: bool | None) -> Relation | None:
    """Return how an answer stands to the model's call; None where either says nothing definite."""
    present = presence(answer)
    if present is None or positive is None:
        return None
    return "agree" if present == positive else "disagree"


def verdict_of(answer: Answer, positive: bool | None) -> GivenVerdict:
    """Return the stored verdict; where the model says nothing, present counts as agree, as the store defines it."""
    if answer == "unsure":
        return "unsure"
    return relation(answer, True if positive is None else positive) or "unsure"


def fitting_reasons(answer: Answer | None, positive: bool | None, probability: float | None) -> tuple[Reason, ...]:
    """Return the reasons that may be given with an answer; none where there is nothing to explain."""
    if answer is None:
        return ()
    kind = reason_kind(verdict_of(answer, positive), presence(answer), probability)
    return () if kind is None else REASONS[kind]
