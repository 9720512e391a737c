"""What a model card and a verdict say: the measured numbers, in words that claim no more than was measured."""

from __future__ import annotations

from collections.abc import Mapping

from engine.explain.usage import ExpertUsage
from engine.inference.calibrate import FindingCalibration
from engine.inference.calibration_report import CalibrationReport
from engine.models.backbones.spec import BackboneSpec
from trainer.cohorts.words import CohortWords
from trainer.config import TrainConfig
from trainer.evaluate import Evaluation
from trainer.protocol import Comparison, FindingComparison, SetComparison

WORSE_BY = 0.02
WEAK_BELOW = 0.7
INTERVALS = (
    "Intervals of the AUC: DeLong's variance, on the logit scale; Newcombe's method 5 at 0 and 1. Average precision "
    "is to be held against the share of positives."
)
COMPARISON_METHOD = (
    "Differences: paired DeLong on the same studies; q after Benjamini and Hochberg over the findings. The mean's "
    "interval: paired bootstrap over patients."
)


def train_card(
    config: TrainConfig,
    spec: BackboneSpec,
    evaluation: Evaluation,
    report: CalibrationReport,
    usage: ExpertUsage | None,
    cohort_digest: str,
    kept_epoch: int,
    words: CohortWords,
) -> str:
    """Write the card of a model that was trained from scratch."""
    return f"""# {config.name} {config.version}

**{config.notice}.** Research use only. Not a medical device; not for diagnosis.

## What it is
{config.description}. {_backbone_words(config)} `{config.backbone}`;
{_trained_parts(config, spec)} and a linear head were trained.

## Data
{words.data}
The run's seed is {config.seed}. Digest of the cohort: `{cohort_digest}`.

## Intended use
{words.use}

## Limits
- {words.limit}
- {len(evaluation.findings)} of the 75 findings are predicted; the others are not covered.
- {_how_it_was_trained(config)}
- The classifier sees {"slices" if spec.dimensions == 2 else "volumes"} without regard to side: no laterality is
  claimed.
- The test set is small: below 10 positive or negative cases no AUC is given ("too few").

## Measured
{evaluation.n_studies} held-out {words.short}; weights of epoch {kept_epoch}, the one with the best mean validation AUC.
{_mean_line(evaluation)}

{_table(evaluation, {item.key: item for item in report.items})}

{INTERVALS}

{_weak_line(evaluation)}

{report.markdown()}
{_usage_section(usage, f"{words.short} of the test split")}
## Training
Multi-label focal loss (γ = {config.loss.gamma:g}, prevalence weights). AdamW with learning rates of
{config.optimiser.head_learning_rate:g} (head), {config.optimiser.pooling_learning_rate:g} (pooling query) and
{config.optimiser.molre_learning_rate:g} (mixture), where it has them. At least {config.schedule.min_epochs} epochs,
stopped after {config.schedule.patience} without a better mean validation AUC.
"""


def _backbone_words(config: TrainConfig) -> str:
    """Say whether the backbone is as published."""
    if config.fine_tune == "full":
        return "The whole backbone"
    return "Frozen backbone" if config.lora is None else "Backbone"


def _how_it_was_trained(config: TrainConfig) -> str:
    """Say what the run did to images and backbone, in a sentence for the limits."""
    if config.slice_training is not None and config.lora is not None:
        return (
            f"The adapters (LoRA, rank {config.lora.rank}, α {config.lora.alpha}) first learnt which findings are in "
            f"single slices, over {config.slice_training.epochs} epochs, which is known of phantoms only and is not "
            "the paper's protocol; features were then computed once per study, without augmentation, and the rest was "
            "trained on them from whole studies' labels."
        )
    if config.mode == "cached":
        return 'Features were computed once per study, without augmentation and without LoRA (`mode = "cached"`).'
    augmented = "without augmentation" if config.augment is None else "augmented in 3D"
    adapted = "without LoRA" if config.lora is None else f"with LoRA (rank {config.lora.rank}, α {config.lora.alpha})"
    if config.fine_tune == "full":
        adapted = f"the whole backbone at a learning rate of {config.optimiser.backbone_learning_rate:g}"
    return f'Trained end to end on prepared volumes, {augmented}, {adapted} (`mode = "end_to_end"`).'


def _trained_parts(config: TrainConfig, spec: BackboneSpec) -> str:
    """Name what stands between the images and the head."""
    parts = [] if config.lora is None else ["adapters in the backbone (LoRA)"]
    if config.molre is not None:
        sizes = f"K = {config.molre.n_experts}, rank {config.molre.rank}, router width {config.molre.hidden}"
        parts.append(f"a Mixture of Low-Rank Experts\n({sizes})")
    if spec.dimensions == 2:
        parts.append("attention pooling\nover slices")
    if spec.fusion_hidden is not None:
        parts.append(f"a fusion layer of {spec.fusion_hidden} units")
    return ", ".join(parts)


def retrain_card(
    comparison: Comparison, report: CalibrationReport, usage: ExpertUsage | None, description: str = ""
) -> str:
    """Write the card of a candidate that was fine-tuned from feedback; `description` says why, in a person's words."""
    own = comparison.own
    words = " ".join(description.split())
    why = f"\nWhy, in the words of who asked for it:\n\n> {words}\n" if words else ""
    return f"""# {comparison.candidate_name}, retrained from feedback

**{comparison.notice}.** Research use only. Not a medical device; not for diagnosis.

A child of `{comparison.parent_name}` (manifest digest `{comparison.parent_digest}`), fine-tuned on
{own.n_train} of the reviewed studies, with replay of the parent's reference cohort. Findings that nobody reviewed were
masked, and so were unsure answers and contradictions.
{why}
| from the readers | number |
| --- | --- |
| statements that counted | {own.n_statements} |
| unsure, masked | {own.n_unsure} |
| contradicted, masked | {own.n_conflicting} |
| studies trained on | {own.n_train} |
| studies set apart by patient, never trained on | {own.n_heldout} |
| studies that could not be used | {len(own.skipped)} |

## Measured
{comparison.verdict}

{_comparison_table(comparison.heldout)}

{report.markdown()}
{_usage_section(usage, comparison.heldout.description)}
## Limits
The limits on the parent's card hold for this model too.
"""


def verdict(heldout: SetComparison, own_heldout: SetComparison) -> str:
    """Say what was measured, and no more: whether the candidate is good enough is for a person to decide."""
    sentences = (_set_sentence(heldout), _worse_sentence(heldout), _set_sentence(own_heldout))
    return " ".join(sentence for sentence in sentences if sentence)


def _usage_section(usage: ExpertUsage | None, description: str) -> str:
    return "" if usage is None else usage.markdown(description)


def _set_sentence(measured: SetComparison) -> str:
    if measured.n_studies == 0:
        return f"No {measured.description} to measure on."
    where = f"On {measured.n_studies} {measured.description}"
    if measured.parent_mean_auc is None or measured.candidate_mean_auc is None:
        return f"{where}: too few cases for an AUC of any finding."
    scored, total = sum(item.parent_auc is not None for item in measured.findings.values()), len(measured.findings)
    change = measured.candidate_mean_auc - measured.parent_mean_auc
    others = "" if scored == total else "; the others have too few cases"
    mean = measured.change
    interval = (
        ""
        if mean is None
        else f" 95 % CI of the change {mean.low:+.3f} to {mean.high:+.3f} ({mean.n_resamples} resamples of "
        f"{mean.n_patients} patients)."
    )
    return (
        f"{where}: mean AUC {measured.parent_mean_auc:.3f} for the parent, {measured.candidate_mean_auc:.3f} for the "
        f"candidate ({change:+.3f}), over {scored} of {total} findings{others}.{interval}"
    )


def _worse_sentence(measured: SetComparison) -> str:
    if measured.parent_mean_auc is None:
        return ""
    worse = [
        f"{key} ({item.parent_auc:.3f} to {item.candidate_auc:.3f}{'' if item.q is None else f', q = {item.q:.2g}'})"
        for key, item in measured.findings.items()
        if item.parent_auc is not None and item.candidate_auc is not None
        if item.parent_auc - item.candidate_auc > WORSE_BY
    ]
    if not worse:
        return f"Of these, none lost more than {WORSE_BY:g}."
    return f"Of these, lost more than {WORSE_BY:g}: {', '.join(worse)}."


def _mean_line(evaluation: Evaluation) -> str:
    if evaluation.mean_auc is None or evaluation.std_auc is None:
        return "No finding has enough cases for an AUC."
    return (
        f"Mean AUC {evaluation.mean_auc:.3f} ± {evaluation.std_auc:.3f} (standard deviation over the "
        f"{evaluation.n_scored} findings that have one)."
    )


def _weak_line(evaluation: Evaluation) -> str:
    """Name what was not learnt, so that nobody has to find it in the table."""
    weak = [score.key for score in evaluation.findings if score.auc is not None and score.auc < WEAK_BELOW]
    if not weak:
        return f"No finding that has an AUC is below {WEAK_BELOW:g}."
    return f"**Not learnt, or hardly (AUC below {WEAK_BELOW:g}): {', '.join(weak)}.**"


def _table(evaluation: Evaluation, calibration: Mapping[str, FindingCalibration]) -> str:
    lines = [
        "| finding | AUC [95 % CI] | average precision | positive | negative | operating point | calibrated |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for score in evaluation.findings:
        item = calibration[score.key]
        lines.append(
            f"| {score.key} | {_auc(score.auc)}{_interval(score.auc_low, score.auc_high)} | "
            f"{_share(score.average_precision)} | {score.n_pos} | {score.n_neg} | {item.point.threshold:.3f} | "
            f"{'yes' if item.method else 'no'} |"
        )
    return "\n".join(lines)


def _comparison_table(measured: SetComparison) -> str:
    lines = [
        "| finding | parent AUC | candidate AUC | difference [95 % CI] | q | positive | negative |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {key} | {_auc(item.parent_auc)} | {_auc(item.candidate_auc)} | {_difference(item)} | "
        f"{'—' if item.q is None else f'{item.q:.2g}'} | {item.n_pos} | {item.n_neg} |"
        for key, item in measured.findings.items()
    ]
    return "\n".join((*lines, "", COMPARISON_METHOD))


def _difference(item: FindingComparison) -> str:
    if item.difference is None:
        return "—"
    low, high = item.difference_low, item.difference_high
    return f"{item.difference:+.3f}" + ("" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]")


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _auc(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f}"
