"""Which statements stand, given a log that only grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from engine.store.records import FeedbackRecord, ReadingMode, StatementMatrix


def standing(rows: Iterable[FeedbackRecord]) -> list[FeedbackRecord]:
    """Return the statements that stand, oldest first.

    A new statement replaces the same reader's earlier one on the same finding of the same series; a withdrawal takes
    away the row that it supersedes and so brings back what stood before. Different readers' statements stand side
    by side, and so does what one person stated as a reader and decided as an adjudicator.

    Parameters
    ----------
    rows
        All feedback of the series in question, oldest first.
    """
    stacks: dict[tuple[str, str, str, str], list[FeedbackRecord]] = {}
    for row in rows:
        stack = stacks.setdefault((row.series_uid, row.finding_key, row.reader, row.role), [])
        if row.verdict == "withdrawn":
            stack[:] = [earlier for earlier in stack if earlier.id != row.supersedes_id]
        else:
            stack.append(row)
    return sorted((stack[-1] for stack in stacks.values() if stack), key=lambda row: row.id)


def adjudicated(stands: Iterable[FeedbackRecord]) -> dict[tuple[str, str], FeedbackRecord]:
    """Return the consensus by series and finding: the newest adjudication that stands."""
    return {(row.series_uid, row.finding_key): row for row in stands if row.role == "adjudication"}


def standing_present(rows: Iterable[FeedbackRecord]) -> tuple[str, ...]:
    """Return the findings that are held to be present: by the adjudicator, or else by any reader."""
    stands = standing(rows)
    decided = adjudicated(stands)
    counted = (row for row in stands if decided.get((row.series_uid, row.finding_key), row) is row)
    return tuple(dict.fromkeys(row.finding_key for row in counted if row.present))


def matrix(rows: Sequence[FeedbackRecord], mode: ReadingMode | None, readers: Sequence[str] | None) -> StatementMatrix:
    """Return what readers, adjudications aside, state on each finding of each series.

    Parameters
    ----------
    rows
        Oldest first.
    mode
        ``blind`` for what each reader had said when the model's output was revealed, whatever was said or withdrawn
        later; ``ai_seen`` for what was said with it in view; None for what stands.
    readers
        In this order; None for all who said something, in the order of their names.
    """
    heard = [row for row in rows if row.role == "reading" and (mode is None or row.mode == mode)]
    if mode == "blind":
        heard = [row for row in heard if not row.after_reveal]
    stands = [row for row in standing(heard) if readers is None or row.reader in readers]
    names = tuple(sorted({row.reader for row in stands})) if readers is None else tuple(readers)
    items = tuple(sorted({(row.series_uid, row.finding_key) for row in stands}))
    values = np.full((len(names), len(items)), -1, dtype=np.int8)
    row_of, column_of = ({value: index for index, value in enumerate(names)}, {v: i for i, v in enumerate(items)})
    for row in stands:
        said = 2 if row.present is None else int(row.present)
        values[row_of[row.reader], column_of[row.series_uid, row.finding_key]] = said
    return StatementMatrix(names, items, values)
