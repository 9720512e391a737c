"""Which statements stand, given a log that only grows."""

from __future__ import annotations

from collections.abc import Iterable

from engine.store.records import FeedbackRecord


def standing(rows: Iterable[FeedbackRecord]) -> list[FeedbackRecord]:
    """Return the statements that stand, oldest first.

    A new statement replaces the same reader's earlier one on the same finding of the same series; a withdrawal takes
    away the row that it supersedes and so brings back what stood before. Different readers' statements stand side
    by side.

    Parameters
    ----------
    rows
        All feedback of the series in question, oldest first.
    """
    stacks: dict[tuple[str, str, str], list[FeedbackRecord]] = {}
    for row in rows:
        stack = stacks.setdefault((row.series_uid, row.finding_key, row.reader), [])
        if row.verdict == "withdrawn":
            stack[:] = [earlier for earlier in stack if earlier.id != row.supersedes_id]
        else:
            stack.append(row)
    return sorted((stack[-1] for stack in stacks.values() if stack), key=lambda row: row.id)
