"""The offline labeller: which findings a sentence names, and whether it states, hedges, denies or only recalls them.

A descendant of NegEx and ConText (Chapman 2001, Harkema 2009): cues reach forwards or backwards to the nearest word
that ends their scope.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from engine.findings.catalogue import Catalogue
from engine.progress import NULL_CONTEXT, Context
from trainer.labels.lexicon import Lexicon, Term
from trainer.labels.sections import impression_of
from trainer.labels.text import normalised, sentences
from trainer.labels.values import ABSENT, PRESENT, UNKNOWN, LabelRun, Report, Spent


class Said(IntEnum):
    """How a sentence speaks of what it names; where several hold, the highest."""

    STATED = 0
    DENIED = 1
    RESOLVED = 2  # denies what it names; of a bleed that has gone nothing follows for other bleeds
    HEDGED = 3
    RECALLED = 4  # history, a purpose, a question, or "no new …": says nothing about now


@dataclass(frozen=True)
class Cue:
    """Words that change what is said of the terms after (or before) them, up to the end of their scope."""

    said: Said
    pattern: re.Pattern[str]
    end: re.Pattern[str]
    forwards: bool = True


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)")


_STATEMENT = (
    ";", "but", "however", "although", "though", "except", "which", "aside from", "other than", "apart from",
    "there (?:is|are)",
    "(?:is|are) (?:again )?(?:noted|seen|present)", "demonstrates?", "shows?", "now", "allowing for",
    "given", "accounting for", "leaving",
)  # fmt: skip
_END_OF_STATEMENT = _words(*_STATEMENT)
_END_OF_PHRASE = _words(*_STATEMENT, ",", "with", "without", "due to", "secondary to", "no")
_BACKWARDS_END = _words(";", "but", "however", "although", "though", "which")

# "No change of …" denies nothing; it is rewritten before any cue is looked for.
_UNCHANGED = re.compile(
    r"\b(?:no|without|no evidence of) (?:appreciable |interval |definite |substantial )*"
    r"(?:change|increase|decrease|progression|enlargement|worsening)(?: of| in(?: size of)?)?\b"
    r"|\bnot (?:appreciably |substantially )?(?:changed|increased|decreased|enlarged)\b"
)
_CUES = (
    Cue(
        Said.RECALLED,
        _words(
            r"(?:no|without|no evidence (?:of|for)) (?:definite |evidence of )?(?:new|recurrent|residual or recurrent)",
            "history of", "indication", "evaluate for", "evaluation for", "rule out", "assess for", "query",
            "to exclude",
            "(?:evacuation|resection|repair|treatment|drainage|clipping|coiling) of",
            "(?:not sensitive|insensitive) (?:to|for)", "(?:favored|more likely) (?:over|than)",
            "if", "risk of", "rather than", "could be missed",
        ),
        _END_OF_PHRASE,
    ),
    Cue(Said.RECALLED, _words("could be missed", "failure"), _END_OF_PHRASE, forwards=False),
    Cue(
        Said.HEDGED,
        _words(
            "possible", "possibly", "questionable", "question of", "questioned", "equivocal", "may", "might", "could",
            "(?:cannot|can not|can't|unable to|not possible to) (?:\\w+ )?(?:exclude|rule out)", "concern for",
            "concerning for", "worrisome for", "versus", "indeterminate for", "raises", r"\?",
        ),
        _END_OF_PHRASE,
    ),
    Cue(Said.HEDGED, _words("differential", "considerations include"), _END_OF_STATEMENT),
    Cue(
        Said.HEDGED,
        _words(
            "(?:cannot|can not|can't|could not) be (?:\\w+ )?(?:excluded|ruled out)",
            "(?:is|are)? ?not (?:\\w+ )?excluded",
            "versus",
            "(?:is|are) (?:possible|questionable|questioned|equivocal)", r"\?", "not ruled out",
        ),
        _END_OF_PHRASE,
        forwards=False,
    ),
    Cue(
        Said.DENIED,
        _words(
            "no", "without", "negative for", "free of", "absence of", "absent", "never", "neither", "nor",
            "none of", "rules out", "excludes",
        ),
        _END_OF_STATEMENT,
    ),
    Cue(
        Said.RESOLVED,
        _words("(?:resolution|clearing|removal|disappearance) of", "resolved", "not"),
        _END_OF_PHRASE,
    ),
    Cue(
        Said.RESOLVED,
        _words("(?:has|have|had) (?:\\w+ )?(?:resolved|cleared|disappeared|been removed)", "removed",
            "no longer (?:seen|visible|visualized|identified|evident|present)"),
        _BACKWARDS_END,
        forwards=False,
    ),
    Cue(
        Said.DENIED,
        _words(
            "(?:is|are|was) not (?:\\w+ )?"
            "(?:seen|visible|visualized|identified|evident|present|demonstrated|appreciated)",
            "not (?:seen|identified|visualized|present|evident)",
            "(?:is|are) (?:absent|ruled out|excluded)", ": (?:none|no|negative|absent)", "none (?:is|are) seen",
        ),
        _BACKWARDS_END,
        forwards=False,
    ),
)  # fmt: skip


class RuleLabeller:
    """Labels reports by rules, on this machine."""

    def __init__(self, catalogue: Catalogue, lexicon: Lexicon) -> None:
        self._keys = tuple(catalogue)
        self._lexicon = lexicon

    def label(self, reports: Sequence[Report], context: Context = NULL_CONTEXT) -> LabelRun:
        """Label every report from its impression.

        Raises
        ------
        Cancelled
            Once the context is cancelled.
        """
        start_s = time.monotonic()
        labels: list[Mapping[str, int]] = []
        without = 0
        for number, report in enumerate(reports, start=1):
            context.raise_if_cancelled()
            impression = impression_of(report.text)
            without += impression is None
            labels.append(self.label_impression(impression or ""))
            context.progress(number, len(reports), "Reports labelled by rules")
        return LabelRun(tuple(labels), without, {}, Spent(seconds_s=time.monotonic() - start_s))

    def label_impression(self, impression: str) -> dict[str, int]:
        """Return every finding of the catalogue with 1, 0 or -1."""
        evidence = _Evidence()
        for sentence in sentences(impression):
            for term, said in self._mentions(sentence):
                evidence.add(term, said)
        return {key: evidence.label(key) for key in self._keys}

    def _mentions(self, sentence: str) -> list[tuple[Term, Said]]:
        text = _UNCHANGED.sub("unchanged", self._lexicon.written_out(normalised(sentence)))
        found = [(match, term) for term in self._lexicon.terms for match in term.pattern.finditer(text)]
        strict = [match.span() for match, term in found if not term.loose]
        kept = ((match, term) for match, term in found if not _within_longer(match.span(), strict))
        return [(term, _said(text, match.span())) for match, term in kept]


class _Evidence:
    """What the sentences of one impression say of each finding."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.hedged: set[str] = set()
        self.absent: set[str] = set()
        self.open: set[str] = set()
        self.covered: set[str] = set()

    def add(self, term: Term, said: Said) -> None:
        """Take in one mention."""
        if said is Said.STATED:
            self.present |= term.means
            self.open |= term.leaves_open
            self.covered |= term.rules_out
        elif said is Said.HEDGED:
            self.hedged |= term.means
            self.open |= term.leaves_open
        elif said in (Said.DENIED, Said.RESOLVED) and term.named:
            self.absent |= term.denies
        elif said is Said.DENIED:
            self.covered |= term.denies

    def label(self, key: str) -> int:
        """Weigh: stated, hedged, denied by name, of an open kind, denied as one of many; in this order."""
        ranked = (
            (self.present, PRESENT),
            (self.hedged, UNKNOWN),
            (self.absent, ABSENT),
            (self.open, UNKNOWN),
            (self.covered, ABSENT),
        )
        return next((label for keys, label in ranked if key in keys), UNKNOWN)


def _within_longer(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    start, end = span
    return any(a <= start and end <= b and b - a > end - start for a, b in others)


def _said(text: str, span: tuple[int, int]) -> Said:
    return max((cue.said for cue in _CUES if _reaches(cue, text, span)), default=Said.STATED)


def _reaches(cue: Cue, text: str, span: tuple[int, int]) -> bool:
    """Whether an instance of the cue stands on its side of the span, with no end of its scope between."""
    if cue.forwards:
        before = text[: span[0]]
        return any(not cue.end.search(before, match.end()) for match in cue.pattern.finditer(before))
    after = text[span[1] :]
    match = cue.pattern.search(after)
    return match is not None and not cue.end.search(after[: match.start()])
