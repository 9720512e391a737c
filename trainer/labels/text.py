"""Sentences of an impression, in one spelling, without what no rule reads: side, size and articles."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

_SPELLING = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[‐-―−]", "-"),
        (r"[’‘]", "'"),
        (r"haem", "hem"),
        (r"oedema", "edema"),
        (r"ischaem", "ischem"),
        (r"tumour", "tumor"),
        (r"\bgrey\b", "gray"),
        (r"\bs/p\b", "status post"),
        (r"\bh/o\b", "history of"),
        (r"\br/o\b", "rule out"),
        (r"\bw/o\b", "without"),
        (r"\bw/", "with "),
        (r"\bvs\b\.?", "versus"),
        (r"\b(?:right to left|left to right|leftward|rightward) (?:midline )?shift\b", "midline shift"),
        (r"\bhydrocephalic\b", "hydrocephalus"),
        (r"\b(sub|epi|extra)-dural\b", r"\1dural"),
        (r"\bsub-arachnoid\b", "subarachnoid"),
        (r"\bsub-galeal\b", "subgaleal"),
        (r"\bintra-(ventricular|cranial|parenchymal|cerebral)\b", r"intra\1"),
        (r"(?<=\w)-(?=\w)", " "),
        (r"\s*\band/or\b\s*", " or "),
        (r"\s*/\s*", " or "),
        (r"[()\[\]]", " , "),
        (r"\b(?:approximately|about|up to|measuring|measures)\b", " "),
        (
            r"\b\d+(?:\.\d+)?(?:\s*(?:x|by|-)\s*\d+(?:\.\d+)?)*\s*(?:mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)\b",
            " ",
        ),
        (r"[\"*_]", " "),
        (r"\s*,\s*", " , "),
        (r"\s*:\s*", " : "),
    )
)
# After "no hemorrhage," such a word begins a statement, unless the list of what is denied goes on to its "or".
_NEW_STATEMENT = re.compile(
    r" , (?=(?:and )?(?:mild|moderate|severe|stable|unchanged|persistent|old|chronic|remote|small|large|tiny"
    r"|age related|status post|incidental|normal|likely|probable|known|there)\b)(?!.*\bn?or\b)"
)
_NOISE = re.compile(
    r"\b(?:the|a|an|left|right|bilaterally|bilateral|leftward|rightward|sided|small|tiny|large|huge|minimal|minor|mild|mildly"
    r"|moderate|moderately|severe|marked|extensive|subtle|thin|thick|slight|slightly|significant|significantly|trace"
    r"|multiple|several|few|scattered)\b"
)
_LIST_MARK = re.compile(r"^\s*(?:\(?\d{1,2}[.):]|[-•*·–])\s*")
_NEW_ITEM = re.compile(r"\n(?=\s*(?:\(?\d{1,2}[.)]\s|[-•*·–]\s))|\n\s*\n")
_INLINE_ITEM = re.compile(r"(?:(?<=[.;])|^)\s*\(?\d{1,2}[.)]\s+(?=[A-Z])")
_END = re.compile(r"(?<=[.;?!])\s+(?=[A-Z0-9(\"-])|;\s*|(?<=[a-z)])\.(?=[A-Z])")
MAX_SENTENCE = 1000
_ABBREVIATIONS: Mapping[str, str] = {"Dr.": "Dr", "approx.": "approximately", "e.g.": "eg", "i.e.": "ie"}


def sentences(impression: str) -> list[str]:
    """Split an impression at list items, blank lines, and the ends of sentences; not at the end of a wrapped line."""
    for short, plain in _ABBREVIATIONS.items():
        impression = impression.replace(short, plain)
    items = (re.sub(r"\s*\n\s*", " ", item) for item in _NEW_ITEM.split(impression))
    parts = (part for item in items for part in _END.split(_INLINE_ITEM.sub(" \n", item).replace(" \n", "\n")))
    lines = (line for part in parts for line in part.split("\n"))
    # No sentence is longer. Cues are looked for on both sides of every term, which grows with the length squared.
    bounded = (part for line in lines for part in textwrap.wrap(line, MAX_SENTENCE, break_on_hyphens=False))
    cleaned = (_LIST_MARK.sub("", line).strip(" .;") for line in bounded)
    return [line for line in cleaned if re.search(r"[A-Za-z]", line)]


def normalised(sentence: str) -> str:
    """Return a sentence or a term in the one form in which they are compared: ``" ; "`` parts statements."""
    text = sentence.lower()
    for pattern, replacement in _SPELLING:
        text = pattern.sub(replacement, text)
    text = _NEW_STATEMENT.sub(" ; ", text)
    return " ".join(_NOISE.sub(" ", text).split())
