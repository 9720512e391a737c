"""All that a benchmark measured, block by block, before any of it is written.

Legend: C findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import TrainingError
from trainer.benchmark.config import ARM_TITLES, Arm, BenchmarkConfig, Block, blocks_of
from trainer.benchmark.measures import ArmDifference, ArmMeasure, compare_arms, enough_cases, measure_arm
from trainer.benchmark.plan import Plan
from trainer.benchmark.results import Finished, Scores
from trainer.benchmark.runner import by_arm
from trainer.statistics.bootstrap import patient_index

DOMAINS: Mapping[str, str] = {
    "medimageinsight": "Medical",
    "medgemma_896": "Medical",
    "medsiglip": "Medical",
    "pillar0_headct": "Head CT",
    "deepcntd_standin": "Head CT",
}
OTHER_DOMAIN = "Natural"


@dataclass(frozen=True, eq=False)
class ModelRow:
    """One backbone in one block.

    Attributes
    ----------
    measures
        By arm; an arm without a finished run is not there.
    missing
        By arm, why it is not there.
    gain, over_single
        The mixture minus the base, and minus the single adapter; None where one of them is missing.
    """

    name: str
    title: str
    domain: str
    block: Block
    measures: Mapping[Arm, ArmMeasure]
    missing: Mapping[Arm, str]
    gain: ArmDifference | None
    over_single: ArmDifference | None

    def measure(self, arm: Arm) -> ArmMeasure | None:
        """Return the runs of an arm."""
        return self.measures.get(arm)


@dataclass(frozen=True, eq=False)
class BenchmarkReport:
    """Every backbone in every block, and what all runs share.

    Attributes
    ----------
    names
        Finding key to what a person reads, in the order of the columns.
    enough_C
        Which findings have enough cases on the test studies.
    n_runs, n_planned
        Finished, and asked for.
    """

    rows: tuple[ModelRow, ...]
    blocks: tuple[Block, ...]
    names: Mapping[str, str]
    enough_C: NDArray[np.bool_]
    labels_NC: NDArray[np.int8]
    words: str
    notice: str
    n_studies: int
    n_patients: int
    n_runs: int
    n_planned: int
    seeds: tuple[int, ...]
    config: BenchmarkConfig

    @property
    def keys(self) -> tuple[str, ...]:
        """The findings."""
        return tuple(self.names)

    @property
    def too_few(self) -> tuple[str, ...]:
        """Findings that no figure is given for."""
        return tuple(key for key, enough in zip(self.keys, self.enough_C, strict=True) if not enough)

    def of(self, block: Block) -> tuple[ModelRow, ...]:
        """Return the rows of a block."""
        return tuple(row for row in self.rows if row.block == block)


def make_report(
    config: BenchmarkConfig, plan: Plan, finished: Sequence[Finished], names: Mapping[str, str] | None = None
) -> BenchmarkReport:
    """Measure every arm and hold them against each other.

    Parameters
    ----------
    finished
        At least one run; those of a plan that are not there are said to be missing.
    names
        Finding key to what a person reads; a key that is not there stands for itself.

    Raises
    ------
    TrainingError
        If nothing is finished, or runs did not score the same studies.
    """
    scores = _common_studies(finished)
    grouped = by_arm(finished)
    measured = {key: measure_arm(runs, config.bootstrap) for key, runs in grouped.items()}
    blocks = blocks_of(config)
    first = finished[0].result
    return BenchmarkReport(
        rows=tuple(_row(config, plan, block, choice.name, measured) for block in blocks for choice in config.backbones),
        blocks=blocks,
        names={key: (names or {}).get(key, key.replace("_", " ")) for key in scores.keys},
        enough_C=enough_cases(scores.labels_NC),
        labels_NC=scores.labels_NC,
        words=first.words,
        notice=first.notice,
        n_studies=len(scores.labels_NC),
        n_patients=patient_index(scores.patients)[1],
        n_runs=len(finished),
        n_planned=len(plan.cells),
        seeds=config.seeds,
        config=config,
    )


def _common_studies(finished: Sequence[Finished]) -> Scores:
    if not finished:
        raise TrainingError(
            "No run of this benchmark is finished, so there is nothing to put into a table.",
            hint="Run it, or name the folder that holds its runs.",
            code="benchmark.nothing",
        )
    for item in finished[1:]:
        if not item.scores.same_studies(finished[0].scores):
            raise TrainingError(
                f"The runs {finished[0].cell.title} and {item.cell.title} did not score the same test studies and "
                "labels, so they cannot be compared.",
                hint="Give every backbone of a benchmark the same cohort; studies that one preparation cannot use are "
                "left out for all only if they are left out of the cohort.",
                code="benchmark.studies_differ",
            )
    return finished[0].scores


def _row(
    config: BenchmarkConfig, plan: Plan, block: Block, name: str, measured: Mapping[tuple[str, str], ArmMeasure]
) -> ModelRow:
    measures: dict[Arm, ArmMeasure] = {arm: measured[name, arm] for arm in block.arms if (name, arm) in measured}
    missing = {
        arm: plan.gap(name, arm) or ("not finished" if arm in config.arms else "not asked for")
        for arm in block.arms
        if arm not in measures
    }

    def between(first: Arm, second: Arm) -> ArmDifference | None:
        if first not in measures or second not in measures:
            return None
        return compare_arms(measures[first], measures[second], config.bootstrap)

    return ModelRow(
        name=name,
        title=plan.specs[name].display_name,
        domain=DOMAINS.get(name, OTHER_DOMAIN),
        block=block,
        measures=measures,
        missing=missing,
        gain=between(block.base, block.molre),
        over_single=between(block.single, block.molre),
    )


def arm_title(arm: Arm) -> str:
    """Return what a person reads for an arm."""
    return ARM_TITLES[arm]
