"""End to end on patients' studies: from a table and DICOM through the real command to a package, and nothing leaks."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from engine.findings.catalogue import Catalogue
from engine.models.package import load_package
from engine.phantom.cohort import write_dicom
from engine.phantom.study import generate
from tests.support.cohorts import SURNAME, write_table
from tests.trainer.conftest import TINY_SPEC
from trainer.cohorts.build import import_cohort
from trainer.cohorts.manifest import CohortManifest, SplitShares, trainable_keys
from trainer.config import LossConfig, Split
from trainer.reference import read_reference
from trainer.steps import Objective, label_losses
from trainer.volumes.shards import ShardEntry, read_entries
from trainer.volumes.source import ShardSource

ROOT = Path(__file__).parents[3]
N_PATIENTS, N_EPOCHS = 10, 20
SIGNS = {1: "1", 0: "0", -1: "?"}
CONFIG = """
mode = "end_to_end"
threads = 1
[cohort]
kind = "imported"
manifest = "{manifest}"
[preprocessing]
spacing_mm = [24.0, 6.4, 6.4]
size_px = [32, 32]
align = false
[lora]
rank = 2
targets = ["conv_head"]
[augment]
[end_to_end]
studies_per_shard = 5
device = "cpu"
[optimiser]
lora_learning_rate = 1e-2
[schedule]
min_epochs = 20
max_epochs = 20
batch_size = 8
[reference]
n_replay = 2
n_calibrate = 1
n_heldout = 2
"""


def _label(patient: int, second: bool) -> dict[str, object]:
    """Each patient has a study with and one without; of the other finding half of the studies say nothing."""
    known = (patient + second) % 2 == 0
    return {"lipoma": int(second), "midline_shift": int(patient % 4 < 2) if known else ""}


def write_patient(folder: Path, number: int, patient: int) -> None:
    """Write a head with headers that name a patient."""
    for path in write_dicom(generate(number, TINY_SPEC), folder):
        dataset = pydicom.dcmread(path)
        dataset.PatientName = f"{SURNAME}^Anna"
        dataset.PatientID = f"{SURNAME}-{patient}"
        dataset.StudyDescription = f"Head of {SURNAME}"
        dataset.save_as(path)


@dataclass(frozen=True)
class TrainedOnPatients:
    """A whole run through the real command, and all that was printed."""

    home: Path
    out: Path
    manifest: CohortManifest
    command: list[str]
    printed: str

    def entries(self, split: Split) -> list[ShardEntry]:
        shards = sorted((self.out / "prepared").rglob(f"{split}-*.zarr"))
        return [entry for shard in shards for entry in read_entries(shard)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> TrainedOnPatients:
    root = tmp_path_factory.mktemp("ward")
    rows: list[dict[str, object]] = []
    for patient in range(N_PATIENTS):
        for second in (False, True):
            number = 2 * patient + second + 1
            write_patient(root / f"study{number}", number, patient)
            names = {"path": f"study{number}", "patient": f"{SURNAME}-{patient}"}
            rows.append({**names, **_label(patient, second)})
    write_table(root / "mine.csv", rows)
    folder, home = tmp_path_factory.mktemp("imported"), tmp_path_factory.mktemp("home")
    manifest = import_cohort(root, folder, catalogue, shares=SplitShares.of((0.4, 0.3, 0.05, 0.25))).manifest
    config, out = home / "run.toml", home / "out"
    config.write_text(CONFIG.format(manifest=folder.as_posix()), encoding="utf-8")
    command = [sys.executable, "main.py", "--home", str(home), "train", str(config), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return TrainedOnPatients(home, out, manifest, command, done.stdout + done.stderr)


@pytest.mark.slow
def test_the_package_loads_with_adapters_that_were_trained_on_patients(trained: TrainedOnPatients) -> None:
    package = load_package(trained.out / "package")
    assert package.manifest.notice == "Trained on an imported cohort, for research only"
    assert package.manifest.finding_keys == trainable_keys(trained.manifest)
    assert set(package.manifest.finding_keys) == {"lipoma", "midline_shift"}
    assert package.manifest.lora is not None
    assert any(float(tensor.abs().max()) > 1e-4 for name, tensor in package.adapter.items() if "lora_B" in name)
    n_train = len(trained.manifest.on("train"))
    assert package.manifest.training.trained_on.startswith(f"{n_train} studies of an imported cohort")
    assert len((trained.out / "curve.csv").read_text(encoding="utf-8").splitlines()) == 1 + N_EPOCHS


@pytest.mark.slow
def test_every_patient_is_on_the_side_that_the_manifest_says(trained: TrainedOnPatients) -> None:
    sides: dict[Split, set[str]] = {}
    for split in ("train", "validate", "calibrate", "test"):
        entries = trained.entries(split)
        assert {entry.identifier for entry in entries} == {study.study_key for study in trained.manifest.on(split)}
        sides[split] = {entry.patient_key for entry in entries}
        assert {trained.manifest.patients[key] for key in sides[split]} == {split}
        assert len(entries) == 2 * len(sides[split]), "both studies of a patient stay together"
    assert sum(len(keys) for keys in sides.values()) == len(set.union(*sides.values())) == N_PATIENTS


@pytest.mark.slow
def test_what_the_table_does_not_say_is_unknown_and_teaches_nothing(trained: TrainedOnPatients) -> None:
    keys = trainable_keys(trained.manifest)
    columns = [trained.manifest.keys.index(key) for key in keys]
    said = {study.study_key: "".join(study.labels[column] for column in columns) for study in trained.manifest.studies}
    entries = trained.entries("train")
    assert {entry.identifier: "".join(SIGNS[int(label)] for label in entry.labels_C) for entry in entries} == {
        entry.identifier: said[entry.identifier] for entry in entries
    }
    source = ShardSource(entries, load_package(trained.out / "package").manifest.preprocessing, torch.device("cpu"))
    batch = source.batch(range(len(entries)))
    unknown_BC = torch.from_numpy(np.stack([entry.labels_C for entry in entries]) == -1)
    assert int(unknown_BC.sum()) == len(entries) // 2
    logits_BC = torch.randn(len(entries), len(keys), requires_grad=True)
    objective = Objective(LossConfig(), torch.full((len(keys),), 0.5), 1.0)
    label_losses(logits_BC, batch, objective).sum().backward()
    assert logits_BC.grad is not None
    assert torch.equal(logits_BC.grad == 0, unknown_BC)
    reference = read_reference(
        trained.out / "reference_cohort.safetensors", load_package(trained.out / "package").manifest
    )
    for studies in reference.studies.values():
        for study in studies:
            assert "".join(SIGNS[int(label)] for label in study.labels_C) == said[study.identifier]


@pytest.mark.slow
def test_no_patient_is_named_in_what_was_written_printed_or_asked(trained: TrainedOnPatients) -> None:
    name = SURNAME.lower().encode()
    files = [path for path in trained.home.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert any("prepared" in path.parts for path in files)
    assert [path for path in files if name in path.read_bytes().lower() or name in str(path).lower().encode()] == []
    assert SURNAME not in trained.printed
    assert SURNAME not in " ".join(trained.command)
