"""One finding as the window shows it, and the rule by which a value counts as uncertain."""

from __future__ import annotations

from dataclasses import dataclass

from app.viewmodels.statements import FeedbackView, Relation, relation
from engine.analysis import FindingResult
from engine.findings.catalogue import Finding

NEAR, NEAR_UNCALIBRATED = 0.10, 0.20
UNCERTAIN_RULE = (
    f"within {NEAR:.2f} of its operating point ({NEAR_UNCALIBRATED:.2f} where the score is not calibrated), "
    "and no more than half way from there to 0 or 1"
)


@dataclass(frozen=True)
class FindingRow:
    """One finding as the panel shows it: catalogue, result (None before an analysis or while hidden) and statement."""

    finding: Finding
    result: FindingResult | None
    feedback: FeedbackView | None

    @property
    def key(self) -> str:
        """The finding's key."""
        return self.finding.key

    @property
    def covered(self) -> bool:
        """Whether there is a result and the model predicts this finding."""
        return self.result is not None and self.result.covered

    @property
    def value(self) -> float | None:
        """The calibrated probability where there is one, else the raw score; None where not covered."""
        if self.result is None or not self.result.covered:
            return None
        calibrated = self.result.calibrated_probability
        return self.result.probability if calibrated is None else calibrated

    @property
    def calibrated(self) -> bool:
        """Whether `value` is a calibrated probability."""
        return self.result is not None and self.result.calibrated_probability is not None

    @property
    def value_name(self) -> str:
        """What `value` is called on the screen."""
        return "calibrated probability" if self.calibrated else "uncalibrated score"

    @property
    def operating_point(self) -> float | None:
        """The threshold on `value`."""
        return self.result.operating_point if self.result is not None and self.result.covered else None

    @property
    def positive(self) -> bool | None:
        """Whether the model calls it present; None where it says nothing."""
        return self.result.positive if self.result is not None and self.result.covered else None

    @property
    def uncertain_range(self) -> tuple[float, float] | None:
        """Between which values the model's call is uncertain, by `UNCERTAIN_RULE`; None without an operating point."""
        point = self.operating_point
        if point is None:
            return None
        near = NEAR if self.calibrated else NEAR_UNCALIBRATED
        return point - min(near, point / 2), point + min(near, (1 - point) / 2)

    @property
    def uncertain(self) -> bool:
        """Whether `value` lies near its operating point."""
        near, value = self.uncertain_range, self.value
        return near is not None and value is not None and near[0] <= value <= near[1]

    @property
    def urgent(self) -> bool:
        """Whether the catalogue ranks it critical or urgent, whatever the model says."""
        return self.finding.urgency != "routine"

    @property
    def relation(self) -> Relation | None:
        """How the reader's statement stands to the model's call; None where either says nothing definite."""
        return None if self.feedback is None else relation(self.feedback.answer, self.positive)
