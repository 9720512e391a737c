"""The expressions of findings in reports: labels and synonyms of the catalogue, and the lexicon's own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.config import FrozenConfig
from engine.errors import ConfigError
from engine.findings.catalogue import Catalogue
from trainer.labels.text import normalised

GAP = "~"
_ANY_WORDS = r"(?:(?!no |without )\w+ ){0,4}"


class Group(FrozenConfig):
    """Words that leave the kind of finding open."""

    expressions: tuple[str, ...]
    denies: tuple[str, ...]
    leaves_open: tuple[str, ...]


class Opposite(FrozenConfig):
    """Words for a normal state."""

    expressions: tuple[str, ...]
    denies: tuple[str, ...]


class Ellipsis(FrozenConfig):
    """Modifiers that share a head noun in an enumeration."""

    modifiers: tuple[str, ...]
    heads: tuple[str, ...]


class LexiconFile(FrozenConfig):
    """``report_lexicon.toml``."""

    ignored: dict[str, tuple[str, ...]]
    terms: dict[str, tuple[str, ...]]
    groups: tuple[Group, ...]
    opposites: tuple[Opposite, ...]
    ellipses: tuple[Ellipsis, ...]


@dataclass(frozen=True)
class Term:
    """An expression and what it means where it is stated and where it is denied.

    Attributes
    ----------
    pattern
        Over the normalised sentence.
    means
        Findings that are present where it is stated.
    denies
        Findings that are absent where it is denied.
    leaves_open
        Findings whose kind it leaves open where it is stated.
    rules_out
        Findings that are absent where it is stated.
    named
        Whether it names one finding: what is said of it by name outweighs what a group says.
    loose
        Whether words may stand between its parts; such a match hides no other match within it.
    """

    pattern: re.Pattern[str]
    means: frozenset[str] = frozenset()
    denies: frozenset[str] = frozenset()
    leaves_open: frozenset[str] = frozenset()
    rules_out: frozenset[str] = frozenset()
    named: bool = False
    loose: bool = False


@dataclass(frozen=True)
class Lexicon:
    """All expressions, compiled, and how enumerations are written out."""

    terms: tuple[Term, ...]
    ellipses: tuple[tuple[re.Pattern[str], str], ...]

    def written_out(self, sentence: str) -> str:
        """Repeat the head noun of an enumeration after each of its modifiers."""
        for pattern, modifiers in self.ellipses:
            sentence = pattern.sub(lambda match, m=modifiers: _repeat_head(match, m), sentence)  # type: ignore[misc]
        return sentence


def load_lexicon(path: Path, catalogue: Catalogue) -> Lexicon:
    """Read ``report_lexicon.toml`` and join it with the catalogue's labels and synonyms.

    Raises
    ------
    ConfigError
        If the file cannot be read, names a finding that the catalogue lacks, or holds no valid expression.
    """
    document = LexiconFile.from_toml(path)
    named = {*document.ignored, *document.terms}
    named |= {key for group in document.groups for key in (*group.denies, *group.leaves_open)}
    named |= {key for opposite in document.opposites for key in opposite.denies}
    if unknown := sorted(named - set(catalogue)):
        raise _lexicon_error(path, f"the catalogue has no finding {', '.join(unknown[:5])}")
    try:
        return Lexicon(tuple(_terms(document, catalogue)), tuple(_ellipsis(entry) for entry in document.ellipses))
    except re.error as error:
        raise _lexicon_error(path, f"an expression is no regular expression: {error}") from error


def _terms(document: LexiconFile, catalogue: Catalogue) -> Iterator[Term]:
    owners: dict[str, set[str]] = defaultdict(set)
    for key, finding in catalogue.items():
        ignored = {normalised(name) for name in document.ignored.get(key, ())}
        for name in (finding.label, *finding.synonyms):
            if (words := normalised(name)) not in ignored:
                owners[re.escape(words).replace(r"\ ", " ")].add(key)
        for expression in document.terms.get(key, ()):
            owners[expression].add(key)
    for expression, keys in owners.items():
        yield _finding_term(expression, frozenset(keys))
    for group in document.groups:
        for expression in group.expressions:
            yield Term(_compiled(expression), denies=frozenset(group.denies), leaves_open=frozenset(group.leaves_open))
    for opposite in document.opposites:
        for expression in opposite.expressions:
            yield Term(_compiled(expression), rules_out=frozenset(opposite.denies), loose=True)


def _finding_term(expression: str, keys: frozenset[str]) -> Term:
    """Make a term; an expression that several findings share says only that it is one of them."""
    loose = GAP in expression
    if len(keys) > 1:
        return Term(_compiled(expression), denies=keys, leaves_open=keys, named=True, loose=loose)
    return Term(_compiled(expression), means=keys, denies=keys, named=True, loose=loose)


def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{expression.replace(f'{GAP} ', _ANY_WORDS)})(?:e?s)?(?!\w)")


def _ellipsis(entry: Ellipsis) -> tuple[re.Pattern[str], str]:
    modifiers = "|".join(sorted(map(re.escape, entry.modifiers), key=len, reverse=True)).replace(r"\ ", " ")
    heads = "|".join(sorted(entry.heads, key=len, reverse=True))
    joint = r"(?: ,(?: and| or)?| and| or)"
    return re.compile(rf"\b((?:{modifiers})(?:{joint} (?:{modifiers}))+) ({heads})s?\b"), rf"\b(?:{modifiers})\b"


def _repeat_head(match: re.Match[str], modifiers: str) -> str:
    return re.sub(modifiers, lambda modifier: f"{modifier.group()} {match.group(2)}", match.group(1))


def _lexicon_error(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"The lexicon {path.name} cannot be used: {reason}.",
        hint="Restore resources/findings/report_lexicon.toml from the release.",
        code="labels.lexicon",
    )
