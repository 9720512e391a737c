"""A tiny benchmark whole, killed and gone on with, and asked for again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from engine.errors import TrainingError
from engine.models.backbones.registry import open_registry
from tests.conftest import PROJECT_ROOT
from trainer.benchmark.cohort import FEATURES_FOLDER, SHARDS_FOLDER
from trainer.benchmark.command import benchmark_to_folder
from trainer.benchmark.config import BenchmarkConfig
from trainer.benchmark.plan import make_plan
from trainer.benchmark.results import read_finished
from trainer.benchmark.runner import RUNS_FOLDER, Pace, run_benchmark

TINY = """
arms = ["head", "molre"]
seeds = [1, 2]
threads = 1
[cohort]
n_train = 8
n_validate = 6
n_calibrate = 1
n_test = 22
spec = { matrix = 72, pixel_spacing_mm = 3.2, n_slices = 13, slice_spacing_mm = 12.0 }
[[backbones]]
name = "efficientnet_lite0"
[preprocessing]
spacing_mm = [12.0, 3.2, 3.2]
size_px = [64, 64]
align = false
[schedule]
min_epochs = 20
max_epochs = 20
batch_size = 4
[bootstrap]
n_resamples = 100
"""


class _Told:
    """Keeps what is told of epochs and runs."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, done: int, total: int, text: str) -> None:
        self.texts.append(text)

    def raise_if_cancelled(self) -> None:
        """Nobody stops."""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark, never interrupted."""
    out = tmp_path_factory.mktemp("whole")
    told = _Told()
    text = benchmark_to_folder(config_file, out, told)
    assert "4 of 4 runs are finished" in text
    assert any(line.startswith("Run 4 of 4, efficientnet_lite0 molre seed 2: epoch 20") for line in told.texts)
    assert sum("left" in line for line in told.texts) > 20, "how long the rest takes is said once a run is done"
    return out


def with_cohort(whole: Path, out: Path) -> Path:
    """Give a folder the cohort that was prepared already."""
    shutil.copytree(whole / "cohort", out / "cohort")
    return out


def scores(out: Path) -> dict[str, tuple[bytes, bytes]]:
    """Return labels and logits of every run; the order of names in a file's header is nobody's choice."""
    found = {path: load_file(path) for path in sorted(out.rglob("scores.safetensors"))}
    return {
        str(path.relative_to(out)): (arrays["labels"].tobytes(), arrays["logits"].tobytes())
        for path, arrays in found.items()
    }


def test_every_run_leaves_what_is_needed_and_the_cohort_is_there_once(whole: Path) -> None:
    runs = sorted((whole / RUNS_FOLDER).rglob("result.json"))
    assert [str(path.parent.relative_to(whole / RUNS_FOLDER)) for path in runs] == [
        f"efficientnet-lite0/{arm}/seed-{seed}" for arm in ("head", "molre") for seed in (1, 2)
    ]
    for path in runs:
        result = json.loads(path.read_text(encoding="utf-8"))
        assert (result["epochs"], result["device"], result["threads"]) == (20, "cpu", 1)
        assert result["seconds"] > 0
        assert result["words"] == "synthetic phantoms"
        assert result["parameters"]["adapter"] == (452_358 if result["arm"] == "molre" else 0)
        names = {item.name for item in path.parent.iterdir()}
        assert {"run.json", "curve.csv", "scores.safetensors", "weights.safetensors"} <= names
        assert not {"checkpoint.safetensors", "seconds.json"} & names
    assert len({json.loads(path.read_text(encoding="utf-8"))["data_digest"] for path in runs}) == 1
    assert len(list((whole / SHARDS_FOLDER).iterdir())) == 5, "one of each split, and two of the test split"
    features = [path for path in (whole / FEATURES_FOLDER).rglob("*") if path.is_file()]
    assert len(features) == 8 + 6 + 22, "those that are read, each once: a benchmark calibrates nothing"
    assert {"table2.csv", "benchmark.md", "figure2.svg", "figure2.png"} <= {path.name for path in whole.iterdir()}


def test_killed_it_goes_on_where_it_was_and_ends_at_the_same_bits(
    whole: Path, config_file: Path, tmp_path: Path
) -> None:
    out = with_cohort(whole, tmp_path)
    second = out / RUNS_FOLDER / "efficientnet-lite0" / "head" / "seed-2"
    code = "from pathlib import Path; from trainer.benchmark.command import benchmark_to_folder; "
    code += f"benchmark_to_folder(Path({str(config_file)!r}), Path({str(out)!r}))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment)
    try:
        while process.poll() is None and len(_lines(second / "curve.csv")) < 5:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    finished = {path.parent.name for path in (out / RUNS_FOLDER).rglob("result.json")}
    assert finished == {"seed-1"}
    before = (second.parent / "seed-1" / "result.json").stat().st_mtime_ns
    told = _Told()
    assert "4 of 4 runs are finished" in benchmark_to_folder(config_file, out, told)
    assert (second.parent / "seed-1" / "result.json").stat().st_mtime_ns == before
    again = [text for text in told.texts if "head seed 1: epoch" in text]
    assert not again, "what is finished is not repeated"
    resumed = [text for text in told.texts if "head seed 2: epoch" in text]
    assert resumed[0].startswith("Run 2 of 4, ")
    assert int(resumed[0].split("epoch ")[1].split(",")[0]) > 3, "it goes on from its checkpoint"
    assert scores(out) == scores(whole)
    assert (out / "table2.csv").read_bytes() == (whole / "table2.csv").read_bytes()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_damaged_scores_are_computed_again_and_nothing_else(whole: Path, config_file: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    damaged = tmp_path / "out" / RUNS_FOLDER / "efficientnet-lite0" / "molre" / "seed-1" / "scores.safetensors"
    before, data = scores(tmp_path / "out"), damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert scores(tmp_path / "out") != before
    told = _Told()
    benchmark_to_folder(config_file, tmp_path / "out", told)
    assert scores(tmp_path / "out") == before
    run = {text.split(":")[0] for text in told.texts if ": epoch" in text}
    assert run == {"Run 4 of 4, efficientnet_lite0 molre seed 1"}


def test_more_seeds_are_added_and_another_configuration_is_refused(whole: Path, config_file: Path) -> None:
    config = BenchmarkConfig.from_toml(config_file)
    registry = open_registry(None)
    more = make_plan(config.model_copy(update={"seeds": (1, 2, 3)}), registry).cells
    found = [read_finished(whole / RUNS_FOLDER / cell.place, cell) is not None for cell in more]
    assert found == [True, True, False, True, True, False]
    other = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"weight_decay": 0.3})})
    with pytest.raises(TrainingError) as caught:
        run_benchmark(other, whole)
    assert caught.value.code == "benchmark.other_configuration"


def test_the_time_left_is_that_of_the_runs_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(total=5, done=1)
    assert (pace.begin(), pace.left()) == ("Run 2 of 5", "")
    now[0] = 120.0
    pace.end()
    assert pace.begin() == "Run 3 of 5"
    assert pace.left() == "; 2 min a run, about 6 min left"
    now[0] = 180.0
    assert pace.left() == "; 2 min a run, about 5 min left"


@pytest.mark.slow
def test_end_to_end_arms_train_the_backbones_adapters_on_shards_that_lie_elsewhere(tmp_path: Path) -> None:
    text = (
        TINY.replace('["head", "molre"]', '["lora_molre"]')
        .replace("[1, 2]", "[1]")
        .replace("n_train = 8", "n_train = 2")
    )
    text = text.replace("n_test = 22", "n_test = 2")
    shards = tmp_path / "elsewhere"
    (tmp_path / "lora.toml").write_text(f'shards = "{shards}"\n{text}[end_to_end]\ndevice = "cpu"\n', encoding="utf-8")
    out = tmp_path / "out"
    assert "1 of 1 runs are finished" in benchmark_to_folder(tmp_path / "lora.toml", out)
    assert len(list(shards.iterdir())) == 4
    assert not (out / "cohort").exists()
    folder = out / RUNS_FOLDER / "efficientnet-lite0" / "lora_molre" / "seed-1"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    trained = load_file(folder / "weights.safetensors")
    lora = sum(value.size for name, value in trained.items() if ".lora_" in name)
    assert result["parameters"]["lora"] == lora > 0
    assert result["parameters"]["trainable"] == sum(value.size for value in trained.values())
    assert any(value.any() for name, value in trained.items() if ".lora_B." in name), "the backbone's adapters moved"
    assert "No finding" in (out / "benchmark.md").read_text(encoding="utf-8")
    assert not list(out.glob("figure3*.png")), "nothing to draw"
