"""Actions on the reader's statements, on who reads, and on the blind first read."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.viewmodels.statements import Answer
from app.views.commands.base import Command

ORDER = 70


class ReadingTarget(Protocol):
    """What the window offers to this area."""

    def can_judge(self) -> bool:
        """Say whether a finding of an open series is selected."""

    def has_picture(self) -> bool:
        """Say whether a slice is in view and a finding selected."""

    def is_key_image(self) -> bool:
        """Say whether the slice in view is a key image."""

    def is_hidden(self) -> bool:
        """Say whether the model's output is hidden."""

    def is_blind_default(self) -> bool:
        """Say whether every series is read blind first."""

    def can_read_blind(self) -> bool:
        """Say whether a series is open whose model output is in view."""

    def can_finish(self) -> bool:
        """Say whether a series is open and not read blind."""

    def is_finished(self) -> bool:
        """Say whether the reader has finished the series."""

    def shows_others(self) -> bool:
        """Say whether other readers' statements are shown."""

    def give_answer(self, answer: Answer) -> None:
        """Save an answer on the selected finding."""

    def undo(self) -> None:
        """Take back what is not saved, or withdraw the newest statement."""

    def save_details(self) -> None:
        """Save changed details under the answer that stands."""

    def toggle_details(self) -> None:
        """Show or hide the details."""

    def toggle_key_image(self) -> None:
        """Make the slice in view a key image, or not."""

    def remove_mark(self) -> None:
        """Remove a mark."""

    def resize_brush(self, factor: float) -> None:
        """Make the brush larger or smaller."""

    def toggle_marks(self) -> None:
        """Show or hide marks."""

    def marks_shown(self) -> bool:
        """Say whether marks are shown."""

    def commit_blind(self) -> None:
        """Commit the blind read, after a confirmation."""

    def reveal_model(self) -> None:
        """Show the model's output without a commit, after a confirmation."""

    def is_shown(self) -> bool:
        """Say whether nothing is hidden: what others said may be looked at."""

    def read_blind(self) -> None:
        """Read this series blind."""

    def toggle_blind_default(self) -> None:
        """Read every series blind first, or not."""

    def toggle_others(self) -> None:
        """Show other readers' statements, or not."""

    def toggle_finished(self) -> None:
        """Say that the series is read, or not after all."""

    def open_readers(self) -> None:
        """Choose or add a reader."""

    def open_agreement(self) -> None:
        """Compare readers."""

    def open_adjudication(self) -> None:
        """Decide between readers."""


def commands(target: ReadingTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (*_answers(target), *_details(target), *_blind(target), *_readers(target))


def _answers(target: ReadingTarget) -> tuple[Command, ...]:
    rows: tuple[tuple[Answer, str, str, str], ...] = (
        ("present", "Present", "P", "Save: you see it, whatever the model says"),
        ("absent", "Absent", "A", "Save: you do not see it, whatever the model says"),
        ("unsure", "Unsure", "U", "Save: you cannot tell"),
    )
    given = tuple(
        Command(
            answer,
            text,
            (key,),
            help_text,
            "Reading",
            partial(target.give_answer, answer),
            answer,
            enabled=target.can_judge,
        )
        for answer, text, key, help_text in rows
    )
    undo = "Take back what is not saved; else withdraw your newest statement"
    return (*given, Command("undo", "Undo", ("Ctrl+Z",), undo, "Reading", target.undo, "undo"))


def _details(target: ReadingTarget) -> tuple[Command, ...]:
    larger, smaller = partial(target.resize_brush, 1.25), partial(target.resize_brush, 0.8)
    side = "Side, certainty, marks, key images, definition"
    save = "Save changed marks, comment and certainty under the answer that stands; leaving the finding does too"
    image = "The slice in view is one to show to others, for the selected finding"
    remove = "The selected finding's mark under the pointer, else its newest on this slice"
    return (
        Command("details", "Details", ("D",), side, "Reading", target.toggle_details),
        Command(
            "save_details", "Save details", ("Ctrl+S",), save, "Reading", target.save_details, enabled=target.can_judge
        ),
        Command(
            "key_image",
            "Key image",
            ("K",),
            image,
            "Reading",
            target.toggle_key_image,
            enabled=target.has_picture,
            is_on=target.is_key_image,
        ),
        Command(
            "remove_mark", "Remove mark", ("Del",), remove, "Reading", target.remove_mark, enabled=target.has_picture
        ),
        Command("brush_larger", "Larger brush", ("]",), "For marking areas", "Reading", larger),
        Command("brush_smaller", "Smaller brush", ("[",), "For marking areas", "Reading", smaller),
        Command(
            "marks",
            "Show marks",
            ("Shift+K",),
            "Show or hide all marks on slices",
            "Reading",
            target.toggle_marks,
            is_on=target.marks_shown,
        ),
    )


def _blind(target: ReadingTarget) -> tuple[Command, ...]:
    commit = "End the blind first read: what you stated is kept, and the model's output is shown"
    reveal = "Show the model's output without a commit; logged as that"
    here = "Hide the model's output of this series, if it has not been in view yet"
    every = "Hide the model's output of every series until you commit"
    return (
        Command(
            "commit_blind",
            "Commit blind read…",
            ("C",),
            commit,
            "Reading",
            target.commit_blind,
            enabled=target.is_hidden,
        ),
        Command(
            "reveal_model",
            "Show the model without committing…",
            ("Shift+C",),
            reveal,
            "Reading",
            target.reveal_model,
            enabled=target.is_hidden,
        ),
        Command(
            "read_blind",
            "Read this series blind",
            ("Ctrl+B",),
            here,
            "Reading",
            target.read_blind,
            enabled=target.can_read_blind,
        ),
        Command(
            "blind_default",
            "Blind first read for every series",
            ("Ctrl+Shift+B",),
            every,
            "Reading",
            target.toggle_blind_default,
            is_on=target.is_blind_default,
        ),
        Command(
            "finish",
            "Reading finished",
            ("R",),
            "The study is reviewed; again: it is not, after all",
            "Reading",
            target.toggle_finished,
            enabled=target.can_finish,
            is_on=target.is_finished,
        ),
    )


def _readers(target: ReadingTarget) -> tuple[Command, ...]:
    others = "On a sheet where you have said nothing; your own statements always stand first"
    return (
        Command("readers", "Reader…", ("Ctrl+R",), "Who reads; add and change readers", "Reading", target.open_readers),
        Command(
            "others",
            "Show other readers' statements",
            ("Ctrl+Shift+R",),
            others,
            "Reading",
            target.toggle_others,
            is_on=target.shows_others,
        ),
        Command(
            "agreement",
            "Agreement…",
            ("Ctrl+G",),
            "How far readers agree: Cohen, Fleiss, Krippendorff",
            "Reading",
            target.open_agreement,
            enabled=target.is_shown,
        ),
        Command(
            "adjudication",
            "Adjudication…",
            ("Ctrl+Shift+G",),
            "Decide where readers differ",
            "Reading",
            target.open_adjudication,
            enabled=target.is_shown,
        ),
    )
