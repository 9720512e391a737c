"""What a statement must be before it is stored."""

from __future__ import annotations

from typing import get_args

from engine.errors import StoreError
from engine.store.locations import problem_of
from engine.store.reasons import REASONS, reason_kind
from engine.store.records import Laterality, NewFeedback, StatementRole


def check_feedback(feedback: NewFeedback) -> None:
    """Say in words what the table's constraints would refuse, and what they cannot see.

    Raises
    ------
    StoreError
        If the statement contradicts itself.
    """
    problem = _answer_problem(feedback) or _reason_problem(feedback) or _detail_problem(feedback)
    if problem is not None:
        raise StoreError(
            f"The statement on {feedback.finding_key or 'no finding'} was not stored: {problem}.",
            hint="Give the verdict again.",
            code="store.feedback.inconsistent",
        )


def _answer_problem(feedback: NewFeedback) -> str | None:
    decided = feedback.verdict in ("agree", "disagree")
    if feedback.verdict not in ("agree", "disagree", "unsure"):
        return f"{feedback.verdict} is no verdict"
    if decided != (feedback.present is not None):
        return "agree and disagree need present or absent, unsure has neither"
    if feedback.probability is not None and not 0 <= feedback.probability <= 1:
        return f"a probability of {feedback.probability} is impossible"
    if not feedback.finding_key or not feedback.reader.strip():
        return "it names no finding or no reader"
    return None


def _reason_problem(feedback: NewFeedback) -> str | None:
    if not feedback.reason_code:
        return None
    kind = reason_kind(feedback.verdict, feedback.present, feedback.probability)
    fitting = () if kind is None else tuple(reason.code for reason in REASONS[kind])
    if feedback.reason_code in fitting:
        return None
    return f"the reason {feedback.reason_code} is not one of {', '.join(fitting) or 'none, since it needs none'}"


def _detail_problem(feedback: NewFeedback) -> str | None:
    if feedback.role not in get_args(StatementRole):
        return f"{feedback.role} is no role"
    if feedback.laterality is not None and feedback.laterality not in get_args(Laterality):
        return f"{feedback.laterality} is no side"
    if feedback.certainty is not None and not 0 <= feedback.certainty <= 100:
        return f"a certainty of {feedback.certainty} % is impossible"
    if not all(feedback.key_images):
        return "a key image names no slice"
    return problem_of(feedback.locations)
