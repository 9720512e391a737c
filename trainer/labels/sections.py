"""The impression of a report. Only it is read: the rest repeats prior studies and questions (§3.1 of the paper)."""

from __future__ import annotations

import re

IMPRESSION = (
    "impression",
    "impressions",
    "conclusion",
    "conclusions",
    "opinion",
    "interpretation",
    "summary",
    "assessment",
)
ADDENDUM = ("addendum", "addenda", "amendment", "corrigendum")
OTHER = (
    "findings", "finding", "technique", "procedure", "protocol", "comparison", "comparisons", "indication",
    "indications", "clinical indication", "clinical history", "clinical information", "history", "reason for exam",
    "reason for examination", "reason for study", "exam", "examination", "study", "contrast", "dose", "radiation dose",
    "report", "recommendation", "recommendations", "attending", "dictated by", "signed by", "electronically signed by",
    "electronically signed", "reported by", "critical result", "communication", "end of impression",
    "end of report", "preliminary report", "final report", "ct head", "ct brain", "brain", "bones", "sinuses",
)  # fmt: skip


def _alternatives(names: tuple[str, ...]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


# A header stands at a line's start, or anywhere if in capitals with a colon; alone on its line it needs no colon.
_HEADER = re.compile(
    rf"(?:^[ \t]*(?P<line>(?i:{_alternatives(IMPRESSION + ADDENDUM + OTHER)}))[ \t]*(?:[:\-–—][ \t]|[:\-–—]?[ \t]*$)"
    rf"|(?<=[.\s])(?P<inline>{_alternatives(tuple(name.upper() for name in IMPRESSION + ADDENDUM + OTHER))}):"
    rf"|(?<=[.\s])(?P<named>(?i:{_alternatives(IMPRESSION + ADDENDUM)})):)",
    re.MULTILINE,
)


def impression_of(text: str) -> str | None:
    """Return the impression, with addenda, which amend it.

    Parameters
    ----------
    text
        A report, or only its impression: text in which no section is named is taken as it is.

    Returns
    -------
    str | None
        None where there are sections but no impression among them, or no text.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    headers = list(_HEADER.finditer(text))
    if not headers:
        return text.strip() or None
    ends = [header.start() for header in headers[1:]] + [len(text)]
    sections = [(_name(header), text[header.end() : end].strip()) for header, end in zip(headers, ends, strict=True)]
    if not any(name in IMPRESSION and body for name, body in sections):
        return None
    return "\n\n".join(body for name, body in sections if name in IMPRESSION + ADDENDUM and body)


def _name(header: re.Match[str]) -> str:
    return next(name for name in header.groupdict().values() if name is not None).lower()
