"""Numbers of a benchmark's tables against their definitions, computed here in another way; and the figures."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from engine.errors import TrainingError
from tests.trainer.made_up import KEYS, made_up_config, made_up_runs
from trainer.benchmark.command import TABLES, write_report
from trainer.benchmark.measures import compare_arms, measure_arm
from trainer.benchmark.plan import Gap, Plan
from trainer.benchmark.report import BenchmarkReport, make_report
from trainer.benchmark.results import Finished, read_finished, write_result
from trainer.benchmark.stratified import band_counts
from trainer.run_folder import RunFolder
from trainer.statistics.bootstrap import BootstrapSettings, paired_bootstrap
from trainer.statistics.delong import paired_auc, paired_mean_auc

ENOUGH = range(len(KEYS) - 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, tuple[Finished, ...]]:
    return made_up_runs(made_up_config(), tmp_path_factory.mktemp("made_up"))


@pytest.fixture(scope="module")
def report(made: tuple[Plan, tuple[Finished, ...]]) -> BenchmarkReport:
    return make_report(made_up_config(), *made, {key: f"Label of {key}" for key in KEYS})


def of_arm(runs: tuple[Finished, ...], arm: str) -> list[Finished]:
    return [run for run in runs if run.cell.arm == arm]


def plain_aucs(runs: list[Finished]) -> NDArray[np.float64]:
    """AUC of every run and finding by scikit-learn."""
    rows = []
    for run in runs:
        labels_NC, logits_NC = run.scores.labels_NC, run.scores.logits_NC
        known = [labels_NC[:, column] >= 0 for column in ENOUGH]
        rows.append([roc_auc_score(labels_NC[k, c], logits_NC[k, c]) for c, k in zip(ENOUGH, known, strict=True)])
    return np.array(rows)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_table_2_says_mean_std_and_spread_as_defined(
    report: BenchmarkReport, made: tuple[Plan, tuple[Finished, ...]]
) -> None:
    (row,) = rows_of(TABLES["table2.csv"](report))
    for prefix, arm in (("base", "head"), ("molre", "molre")):
        aucs_SC = plain_aucs(of_arm(made[1], arm))
        assert float(row[f"{prefix}_mean_auc"]) == pytest.approx(aucs_SC.mean())
        assert float(row[f"{prefix}_std_over_findings"]) == pytest.approx(aucs_SC.mean(axis=0).std())
        assert float(row[f"{prefix}_std_over_seeds"]) == pytest.approx(aucs_SC.mean(axis=1).std(ddof=1))
    gain = float(row["difference"])
    assert gain == pytest.approx(
        plain_aucs(of_arm(made[1], "molre")).mean() - plain_aucs(of_arm(made[1], "head")).mean()
    )
    assert float(row["low"]) < gain < float(row["high"])
    assert (row["findings"], row["seeds"], row["name"], row["domain"]) == ("7", "3", "efficientnet_lite0", "Natural")


def test_the_interval_is_of_patients_and_seeds_drawn_anew(made: tuple[Plan, tuple[Finished, ...]]) -> None:
    """Against a bootstrap that copies studies and runs, with draws of its own: the same interval but for chance."""
    settings = BootstrapSettings(n_resamples=2000, seed=9)
    first, second = of_arm(made[1], "head"), of_arm(made[1], "molre")
    change = compare_arms(measure_arm(first, settings), measure_arm(second, settings), settings)
    assert change is not None
    assert change.interval is not None
    scores = first[0].scores
    random = np.random.default_rng(123)
    studies_of: dict[str, list[int]] = {}
    for number, patient in enumerate(scores.patients):
        studies_of.setdefault(patient, []).append(number)
    patients = list(studies_of)
    gains = []
    for _ in range(400):
        drawn = [studies_of[patients[index]] for index in random.integers(len(patients), size=len(patients))]
        rows, seeds = np.concatenate(drawn), random.integers(3, size=3)
        labels_NC = scores.labels_NC[rows]
        means = [
            np.mean([ranks_auc(labels_NC[:, c], runs[s].scores.logits_NC[rows, c]) for s in seeds for c in ENOUGH])
            for runs in (first, second)
        ]
        gains.append(means[1] - means[0])
    low, high = np.quantile(gains, [0.025, 0.975])
    width = high - low
    assert change.interval.low == pytest.approx(low, abs=0.15 * width)
    assert change.interval.high == pytest.approx(high, abs=0.15 * width)
    assert change.n_patients == 45
    assert change.p is not None
    assert change.p < 0.05


def ranks_auc(labels_N: NDArray[np.int8], scores_N: NDArray[np.float32]) -> float:
    positive, negative = scores_N[labels_N == 1], scores_N[labels_N == 0]
    higher = (positive[:, None] > negative[None]).mean()
    return float(higher + (positive[:, None] == negative[None]).mean() / 2)


def test_with_one_seed_the_interval_is_the_paired_bootstraps(made: tuple[Plan, tuple[Finished, ...]]) -> None:
    settings = BootstrapSettings(n_resamples=200, seed=2)
    first, second = of_arm(made[1], "head")[:1], of_arm(made[1], "molre")[:1]
    change = compare_arms(measure_arm(first, settings), measure_arm(second, settings), settings)
    scores, columns = first[0].scores, list(ENOUGH)
    arrays = (scores.labels_NC, scores.logits_NC, second[0].scores.logits_NC)
    known = paired_bootstrap(*(array[:, columns] for array in arrays), scores.patients, settings)
    assert change is not None
    assert known is not None
    assert change.interval == known.interval
    assert change.p == known.p
    assert change.difference == pytest.approx(known.difference)


def test_only_seeds_that_both_arms_have_are_compared(made: tuple[Plan, tuple[Finished, ...]]) -> None:
    settings = BootstrapSettings(n_resamples=50)
    whole, part = measure_arm(of_arm(made[1], "head"), settings), measure_arm(of_arm(made[1], "molre")[1:], settings)
    change = compare_arms(whole, part, settings)
    assert change is not None
    assert change.seeds == (2, 3)
    gains = plain_aucs(of_arm(made[1], "molre")[1:]) - plain_aucs(of_arm(made[1], "head")[1:])
    assert change.difference == pytest.approx(gains.mean())
    assert compare_arms(measure_arm(of_arm(made[1], "head")[:1], settings), part, settings) is None


def test_delongs_test_of_a_mean_of_aucs_knows_its_variance() -> None:
    """Of equal scores it is the test of one; of others, its variance is that of the covariance of all placements."""
    random = np.random.default_rng(3)
    labels_N = (random.random(80) < 0.4).astype(np.int8)
    first_RN = random.normal(size=(3, 80)) + 0.5 * labels_N
    second_RN = random.normal(size=(3, 80)) + 1.0 * labels_N
    one = paired_auc(labels_N, first_RN[0], second_RN[0])
    assert paired_mean_auc(labels_N, [first_RN[0]] * 3, [second_RN[0]] * 3).p == pytest.approx(one.p)
    found = paired_mean_auc(labels_N, first_RN, second_RN)
    positive, negative = labels_N == 1, labels_N == 0
    v10, v01 = [], []
    for scores_N in (*first_RN, *second_RN):
        higher = scores_N[positive][:, None] > scores_N[negative][None]
        v10.append(higher.mean(axis=1))
        v01.append(higher.mean(axis=0))
    contrast = np.array([-1, -1, -1, 1, 1, 1]) / 3
    covariance = np.cov(v10) / positive.sum() + np.cov(v01) / negative.sum()
    error = float(np.sqrt(contrast @ covariance @ contrast))
    assert found.difference == pytest.approx(contrast @ np.mean(v10, axis=1))
    assert found.interval is not None
    assert found.interval.high - found.interval.low == pytest.approx(2 * 1.959963984540054 * error)
    with pytest.raises(ValueError, match="as many"):
        paired_mean_auc(labels_N, first_RN, second_RN[:2])


def test_findings_are_called_better_and_worse_by_their_q_values(report: BenchmarkReport) -> None:
    gain = report.rows[0].gain
    assert gain is not None
    called = {item.key for item in gain.findings if item.q is not None and item.q < 0.05}
    assert gain.n_better == len(called) > 0
    assert gain.n_worse == 0
    assert gain.findings[-1].note == "too few"
    table = rows_of(TABLES["figure3.csv"](report))
    assert {
        row["finding"] for row in table if row["molre_minus_base_q"] and float(row["molre_minus_base_q"]) < 0.05
    } == called
    assert [row["note"] for row in table] == [""] * 7 + ["too few"]
    assert table[-1]["base"] == "", "no figure for a finding with too few cases"


def test_the_control_stands_beside_the_mixture_with_its_parameters(report: BenchmarkReport) -> None:
    (row,) = rows_of(TABLES["control.csv"](report))
    assert (row["single_adapter"], row["molre_adapter"], row["single_rank"]) == ("453120", "452358", "177")
    assert float(row["difference"]) == pytest.approx(float(row["molre_mean_auc"]) - float(row["single_mean_auc"]))
    text = TABLES["benchmark.md"](report)
    assert "| EfficientNet-Lite0 (ImageNet) | 177 | 453,120 | 6 × 8 | 452,358 |" in text


def test_figure_2_counts_findings_in_bands() -> None:
    aucs = np.array([0.9, 0.95, 0.8, 0.8999, 0.7999, 0.3, np.nan])
    assert band_counts(aucs) == (2, 2, 2, 1)


def test_the_document_says_whose_studies_and_what_is_left_out(report: BenchmarkReport) -> None:
    text = TABLES["benchmark.md"](report)
    assert "**Trained on synthetic phantoms, for demonstration only.**" in text
    assert "90 synthetic phantoms (45 patients)" in text
    assert "1 of 8 findings" in text
    assert "Label of finding_7." in text
    assert text.index("Table 2") < text.index("The routing, or the parameters?")


def test_an_arm_that_cannot_be_is_a_dash_with_its_reason(made: tuple[Plan, tuple[Finished, ...]]) -> None:
    plan, runs = made
    poor = replace(plan, gaps=(Gap("efficientnet_lite0", "molre", "it has no attention pooling"),))
    without = tuple(run for run in runs if run.cell.arm != "molre")
    report = make_report(made_up_config(), poor, without)
    (row,) = rows_of(TABLES["table2.csv"](report))
    assert (row["molre_mean_auc"], row["difference"]) == ("", "")
    assert "molre: it has no attention pooling" in row["reason"]
    text = TABLES["benchmark.md"](report)
    assert "MoLRE: –, it has no attention pooling." in text
    assert "MoLRE: –, not finished." in TABLES["benchmark.md"](make_report(made_up_config(), plan, without))
    assert re.search(r"\| EfficientNet-Lite0 \(ImageNet\) \| Natural \|.*\| – \| – \|", text)


def test_runs_of_other_studies_are_not_compared(made: tuple[Plan, tuple[Finished, ...]]) -> None:
    plan, runs = made
    flipped = replace(runs[0].scores, labels_NC=1 - np.abs(runs[0].scores.labels_NC))
    with pytest.raises(TrainingError) as caught:
        make_report(made_up_config(), plan, (replace(runs[0], scores=flipped), *runs[1:]))
    assert caught.value.code == "benchmark.studies_differ"
    with pytest.raises(TrainingError) as caught:
        make_report(made_up_config(), plan, ())
    assert caught.value.code == "benchmark.nothing"


def test_a_key_that_a_later_release_brought_refuses_no_finished_run(tmp_path: Path) -> None:
    plan, runs = made_up_runs(made_up_config(seeds=[1]), tmp_path)
    cell, folder = plan.cells[1], tmp_path / "runs" / plan.cells[1].place
    facts = runs[1].result.model_dump() | {"digest": "of an older release"}
    facts.pop("scores_sha256")
    write_result(folder, runs[1].scores, facts)
    run = cell.config.model_dump(mode="json")
    before = {name: value for name, value in run.items() if name not in ("sampling", "rate")}
    before["optimiser"] = {name: value for name, value in run["optimiser"].items() if name != "average_decay"}
    digests = {"backbone": cell.weights_digest}
    RunFolder(folder).begin(before, digests, {})
    assert read_finished(folder, cell) is not None
    for config, weights in (
        ({**before, "optimiser": {**run["optimiser"], "weight_decay": 0.5}}, digests),
        ({**before, "unknown": True}, digests),
        (before, {"backbone": "0" * 64}),
    ):
        RunFolder(folder).begin(config, weights, {})
        with pytest.raises(TrainingError) as caught:
            read_finished(folder, cell)
        assert caught.value.code == "benchmark.other_configuration"


def test_figures_hold_every_findings_name_and_repeat_to_the_byte(report: BenchmarkReport, tmp_path: Path) -> None:
    written = write_report(report, tmp_path / "one")
    assert sorted(path.name for path in written) == [
        "benchmark.md",
        "control.csv",
        "figure2.csv",
        "figure2.png",
        "figure2.svg",
        "figure3-frozen-efficientnet-lite0.png",
        "figure3-frozen-efficientnet-lite0.svg",
        "figure3.csv",
        "runs.csv",
        "table2.csv",
    ]
    radar = (tmp_path / "one" / "figure3-frozen-efficientnet-lite0.svg").read_text(encoding="utf-8")
    shown = set(re.findall(r"Label of finding_\d( †)?", radar))
    assert {key for key in KEYS if f"Label of {key}" in radar} == set(KEYS)
    assert shown == {"", " †"}
    assert "Label of finding_7 †" in radar
    for name in ("figure2.svg", "figure3-frozen-efficientnet-lite0.svg"):
        assert "90 synthetic phantoms" in (tmp_path / "one" / name).read_text(encoding="utf-8")
    write_report(report, tmp_path / "two")
    for path in written:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
        assert path.stat().st_size > 100
