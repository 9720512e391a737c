"""How well labels agree with manual ones, in the figures that §3.1 of the paper gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import LabelError
from engine.findings.catalogue import Catalogue
from engine.findings.label_table import label_array, read_label_table
from trainer.labels.values import ABSENT, PRESENT, UNKNOWN, Labels, Report

PAPER = "The paper gives 0.64 false positives and 0.09 false negatives a case, accuracy 0.986, on 90 cases of its own."


@dataclass(frozen=True)
class FindingAgreement:
    """One finding: cases by manual label, errors, and the share of cases in which both say present or both do not."""

    key: str
    n_present: int
    n_absent: int
    false_positives: int
    false_negatives: int
    accuracy: float


@dataclass(frozen=True)
class Agreement:
    """Two label tables, compared on the cases and findings that both have.

    Attributes
    ----------
    n_cases
        Cases in both tables.
    false_positives, false_negatives
        A case, mean: present where the manual table does not say present, and the reverse. Unknown counts as not
        present, as in the paper, whose labels are present or not.
    accuracy
        Share of all cases and findings in which both say present, or both do not.
    denied_though_present
        A case, mean: those false negatives in which the labels say absent, not unknown. They would train a model
        wrongly.
    denied_though_unknown
        A case, mean: absent where the manual table leaves it open.
    missed_denials
        A case, mean: the manual table says absent, the labels unknown. They cost data, not truth.
    three_way
        Share of all cases and findings with the same of present, absent, unknown.
    stated_false_positives
        A case, mean: present where the manual table says absent.
    findings
        By finding, in the catalogue's order.
    """

    n_cases: int
    false_positives: float
    false_negatives: float
    accuracy: float
    denied_though_present: float
    denied_though_unknown: float
    missed_denials: float
    three_way: float
    stated_false_positives: float
    findings: tuple[FindingAgreement, ...]


def agreement(labels_NC: NDArray[np.int8], manual_NC: NDArray[np.int8], keys: Sequence[str]) -> Agreement:
    """Compare labels with manual ones.

    Parameters
    ----------
    labels_NC, manual_NC
        Cases by findings, int8: 1 present, 0 absent, -1 unknown.
    keys
        The findings of the columns.

    Raises
    ------
    ValueError
        If there is no case or no finding.
    """
    if labels_NC.shape != manual_NC.shape or not labels_NC.size:
        raise ValueError(f"nothing to compare: {labels_NC.shape} and {manual_NC.shape}")
    said, meant = labels_NC == PRESENT, manual_NC == PRESENT
    denied = labels_NC == ABSENT

    def a_case(where_NC: NDArray[np.bool_]) -> float:
        return float(where_NC.sum()) / len(where_NC)

    return Agreement(
        n_cases=len(labels_NC),
        false_positives=a_case(said & ~meant),
        false_negatives=a_case(meant & ~said),
        accuracy=float(np.mean(said == meant)),
        denied_though_present=a_case(denied & meant),
        denied_though_unknown=a_case(denied & (manual_NC == UNKNOWN)),
        missed_denials=a_case((labels_NC == UNKNOWN) & (manual_NC == ABSENT)),
        three_way=float(np.mean(labels_NC == manual_NC)),
        stated_false_positives=a_case(said & (manual_NC == ABSENT)),
        findings=tuple(_finding(key, said[:, c], manual_NC[:, c]) for c, key in enumerate(keys)),
    )


def compare_with_table(
    manual_table: Path, reports: Sequence[Report], labels: Sequence[Labels], catalogue: Catalogue
) -> Agreement:
    """Compare labels with a manual table, case by case by its path, on the findings that the table has columns for.

    Raises
    ------
    ConfigError
        If the table cannot be read.
    LabelError
        If it names a case twice or shares none with the reports.
    """
    table = read_label_table(manual_table, catalogue)
    rows: Mapping[Path, int] = {study.path: number for number, study in enumerate(table.studies)}
    if len(rows) != len(table.studies):
        raise _no_comparison(manual_table, "it names a case twice")
    pairs = [
        (n, rows[place])
        for n, report in enumerate(reports)
        if (place := manual_table.parent / report.identifier) in rows
    ]
    if not pairs:
        raise _no_comparison(manual_table, "none of its paths is a report's")
    keys = [key for key in catalogue if key in table.keys]
    labels_NC = np.array([[labels[n][key] for key in keys] for n, _ in pairs], dtype=np.int8)
    return agreement(labels_NC, label_array(table.studies, keys)[[row for _, row in pairs]], keys)


def agreement_lines(found: Agreement) -> list[str]:
    """Return the comparison in words, with the findings that have an error."""
    lines = [
        f"{found.n_cases} cases, {len(found.findings)} findings, against the manual labels",
        f"false positives a case {found.false_positives:.2f}, false negatives a case {found.false_negatives:.2f}, "
        f"accuracy {found.accuracy:.4f} (present or not; unknown counts as not present)",
        f"a case: {found.stated_false_positives:.2f} called present that are denied, {found.denied_though_present:.2f} "
        f"called absent that are present, {found.denied_though_unknown:.2f} called absent that are open, "
        f"{found.missed_denials:.2f} denials missed",
        f"same of present, absent, unknown: {found.three_way:.4f}",
        PAPER,
        f"{'finding':<34}{'present':>8}{'absent':>8}{'FP':>5}{'FN':>5}  accuracy",
    ]
    lines += [_line(item) for item in found.findings if item.false_positives or item.false_negatives]
    faultless = sum(not (item.false_positives or item.false_negatives) for item in found.findings)
    return [*lines, f"and {faultless} findings without an error"]


def _finding(key: str, said_N: NDArray[np.bool_], manual_N: NDArray[np.int8]) -> FindingAgreement:
    meant_N = manual_N == PRESENT
    return FindingAgreement(
        key=key,
        n_present=int(meant_N.sum()),
        n_absent=int((manual_N == ABSENT).sum()),
        false_positives=int((said_N & ~meant_N).sum()),
        false_negatives=int((meant_N & ~said_N).sum()),
        accuracy=float(np.mean(said_N == meant_N)),
    )


def _line(item: FindingAgreement) -> str:
    return (
        f"{item.key:<34}{item.n_present:>8}{item.n_absent:>8}{item.false_positives:>5}{item.false_negatives:>5}"
        f"  {item.accuracy:.3f}"
    )


def _no_comparison(path: Path, reason: str) -> LabelError:
    return LabelError(
        f"The manual labels {path} cannot be compared: {reason}.",
        hint="Its column path must hold the reports' paths, each once.",
        code="labels.compare",
    )
