"""Three-way merge of texts by lines: what was changed by hand and what was made anew, both from one base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class Merged:
    """The merged text, and in how many places both sides had changed the same lines (both are kept there)."""

    text: str
    n_conflicts: int


def merge(base: str, mine: str, theirs: str) -> Merged:
    """Merge two texts that were both made from `base`.

    A place that only one side changed is taken from that side. Where both did, my lines stand first, and after them
    those of the other side that are new: nothing that was written by hand is lost, and nothing new is left out.
    """
    lines = base.split("\n"), mine.split("\n"), theirs.split("\n")
    merged: list[str] = []
    n_conflicts = 0
    at = (0, 0, 0)
    for anchor in _anchors(*lines):
        before, own, new = (part[start:end] for part, start, end in zip(lines, at, anchor, strict=True))
        if own in (before, new):
            merged += new
        elif new == before:
            merged += own
        else:
            merged += own + [line for line in new if line not in before and line not in own]
            n_conflicts += 1
        if anchor[0] < len(lines[0]):
            merged.append(lines[0][anchor[0]])
        at = (anchor[0] + 1, anchor[1] + 1, anchor[2] + 1)
    return Merged("\n".join(merged), n_conflicts)


def _anchors(base: list[str], mine: list[str], theirs: list[str]) -> Iterator[tuple[int, int, int]]:
    """Yield the places of the lines that all three have in the same order, and last the three ends."""
    in_mine, in_theirs = _matches(base, mine), _matches(base, theirs)
    for line in range(len(base)):
        if line in in_mine and line in in_theirs:
            yield line, in_mine[line], in_theirs[line]
    yield len(base), len(mine), len(theirs)


def _matches(base: list[str], other: list[str]) -> dict[int, int]:
    blocks = SequenceMatcher(None, base, other, autojunk=False).get_matching_blocks()
    return {block.a + step: block.b + step for block in blocks for step in range(block.size)}
