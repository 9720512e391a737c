"""From a cohort on disk to a package: import, features, training, and the test part left alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.errors import TrainingError
from engine.findings.catalogue import Catalogue
from engine.models.package import load_package, verify_package
from engine.phantom.cohort import write_cohort
from engine.progress import Cancelled
from engine.store.repository import Store
from tests.trainer.conftest import TINY_SPEC, TinyRun, tiny_config
from tests.trainer.feedback_store import add_phantom, state
from trainer.__main__ import retrain_command
from trainer.cohorts.build import import_cohort
from trainer.cohorts.imported import SetAside, imported_features, require_every_side
from trainer.cohorts.load import LoadedCohort, load_cohort
from trainer.cohorts.manifest import CohortManifest, SplitShares, TestPart, read_manifest, trainable_keys
from trainer.cohorts.words import phantom_words
from trainer.config import ImportedCohortConfig, PhantomCohortConfig, ReferenceConfig, RetrainConfig, TrainConfig
from trainer.datasets import StudyFeatures
from trainer.protocol import EpochEnded, Event, Finished, read_comparison
from trainer.reference import read_reference
from trainer.ship import ship
from trainer.training import run_training

N_STUDIES = 30
SHARES = SplitShares.of((0.4, 0.3, 0.15, 0.15))


@dataclass(frozen=True)
class ImportedRun:
    """The shared run: cohort on disk, manifest, and what training wrote."""

    root: Path
    manifest: CohortManifest
    manifest_folder: Path
    out: Path
    finished: Finished
    events: tuple[Event, ...]


def imported_config(folder: Path, **changes: object) -> TrainConfig:
    """A run on the cohort that stands in a folder, with everything else as in the tiny run."""
    tiny = tiny_config()
    config = TrainConfig.model_validate(
        {"cohort": {"kind": "imported", "manifest": folder}, "threads": 1, "preprocessing": tiny.preprocessing}
        | {"schedule": tiny.schedule, "reference": ReferenceConfig(n_replay=4, n_calibrate=50, n_heldout=50)}
    )
    return config.model_copy(update=changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> ImportedRun:
    root = tmp_path_factory.mktemp("cohort")
    write_cohort(root, N_STUDIES, 11, TINY_SPEC)
    folder, out = tmp_path_factory.mktemp("imported"), tmp_path_factory.mktemp("run")
    manifest = import_cohort(root, folder, catalogue, shares=SHARES).manifest
    events: list[Event] = []
    finished = run_training(imported_config(folder), out, events.append)
    return ImportedRun(root, manifest, folder, out, finished, tuple(events))


def test_a_package_is_trained_on_the_findings_that_can_be_learnt(run: ImportedRun) -> None:
    manifest = verify_package(run.out / "package")
    assert manifest.digest == run.finished.package_digest
    assert manifest.finding_keys == trainable_keys(run.manifest)
    assert 0 < len(manifest.finding_keys) < len(run.manifest.keys)
    assert manifest.notice == "Trained on an imported cohort, for research only"
    n_train = len(run.manifest.on("train"))
    assert manifest.training.trained_on.startswith(f"{n_train} studies of an imported cohort (synthetic phantoms")
    assert run.manifest.digest[:12] in manifest.training.trained_on
    curve = [event for event in run.events if isinstance(event, EpochEnded)]
    assert curve[-1].train_loss < curve[0].train_loss
    card = (run.out / "package" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "the split is by patient and was drawn once" in card
    assert "Only computer-generated phantoms" not in card


def test_the_package_says_nothing_of_where_the_cohort_lies(run: ImportedRun) -> None:
    texts = [
        path.read_text(encoding="utf-8") for path in (run.out / "package").iterdir() if path.suffix != ".safetensors"
    ]
    assert texts
    assert not [text for text in texts if str(run.root) in text or str(run.manifest_folder) in text]
    metrics = load_package(run.out / "package").metrics
    assert metrics["config"]["cohort"] == {"kind": "imported", "manifest": run.manifest_folder.name}


def test_every_study_is_on_the_side_of_its_patient(run: ImportedRun) -> None:
    package = verify_package(run.out / "package")
    reference = read_reference(run.out / "reference_cohort.safetensors", package)
    listed = {study.identifier: study for study in reference.document.studies}
    assert len(listed) == N_STUDIES
    columns = [run.manifest.keys.index(key) for key in package.finding_keys]
    for study in run.manifest.studies:
        assert listed[study.study_key].split == run.manifest.side(study)
        assert listed[study.study_key].labels == "".join(study.labels[column] for column in columns)
    heldout = {study.identifier for study in reference.studies["heldout"]}
    assert heldout == {study.study_key for study in run.manifest.on("test")}
    assert reference.document.cohort["manifest_digest"] == run.manifest.digest


def test_features_are_those_of_the_files_whatever_the_labels(run: ImportedRun, tmp_path: Path) -> None:
    """Cached features are used again after labels changed, and a changed file is read again."""
    shutil.copytree(run.out / "features", tmp_path / "features")
    config = imported_config(run.manifest_folder)
    count: list[int] = []

    class Context:
        def progress(self, done: int, total: int, text: str) -> None:
            count.append(done)

        def raise_if_cancelled(self) -> None:
            """Nobody cancels."""

    flipped = str.maketrans("10", "01")
    studies = tuple(
        study.model_copy(update={"labels": study.labels.translate(flipped)}) for study in run.manifest.studies
    )
    other = run.manifest.model_copy(update={"studies": studies})
    keys = run.manifest.keys
    before, _ = imported_features(run.manifest, keys, config, tmp_path / "features", Context())
    after, _ = imported_features(other, keys, config, tmp_path / "features", Context())
    assert count == []
    for one, two in zip(before["train"], after["train"], strict=True):
        assert one.digest() == two.digest()
        assert np.array_equal(one.labels_C, 1 - two.labels_C)
        assert one.patient_key in run.manifest.patients


def test_a_stopped_run_goes_on_and_what_cannot_be_read_is_set_aside(
    run: ImportedRun, tmp_path: Path, catalogue: Catalogue
) -> None:
    root = tmp_path / "cohort"
    shutil.copytree(run.root, root, ignore=shutil.ignore_patterns("*_masks"))
    import_cohort(root, tmp_path / "imported", catalogue, shares=SHARES)
    manifest = read_manifest(tmp_path / "imported")
    assert manifest.digest == run.manifest.digest
    first, second = manifest.on("train")[:2]
    shutil.rmtree(root / first.folder)
    (root / second.folder / "0001.dcm").unlink()
    config = imported_config(tmp_path / "imported")
    keys = trainable_keys(manifest)

    class Stops:
        left = 5

        def progress(self, done: int, total: int, text: str) -> None:
            """Nobody looks."""

        def raise_if_cancelled(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled

    features = tmp_path / "features"
    with pytest.raises(Cancelled):
        imported_features(manifest, keys, config, features, Stops())
    n_kept = sum(path.is_file() for path in features.rglob("*"))
    assert 5 - 2 <= n_kept <= 5
    steps: list[int] = []

    class Counts:
        def progress(self, done: int, total: int, text: str) -> None:
            steps.append(done)

        def raise_if_cancelled(self) -> None:
            """Nobody cancels."""

    found, set_aside = imported_features(manifest, keys, config, features, Counts())
    assert (steps[0], steps[-1]) == (n_kept + 1, N_STUDIES)
    assert {item.study_key: item.code for item in set_aside} == {
        first.study_key: "cohort.source_missing",
        second.study_key: "cohort.source_changed",
    }
    assert len(found["train"]) == len(manifest.on("train")) - 2
    listed = json.loads((features / "set_aside.json").read_text(encoding="utf-8"))
    assert {item["study_key"] for item in listed} == {first.study_key, second.study_key}


def test_a_cohort_without_a_side_or_without_a_finding_is_refused(
    run: ImportedRun, tmp_path: Path, catalogue: Catalogue
) -> None:
    no_test = SplitShares.of((0.4, 0.3, 0.3, 0.0))
    import_cohort(run.root, tmp_path / "a", catalogue, shares=no_test)
    with pytest.raises(TrainingError, match=r"test 0") as caught:
        load_cohort(imported_config(tmp_path / "a"), run.out / "features")
    assert caught.value.code == "cohort.empty_split"
    with pytest.raises(TrainingError, match=r"Set aside: 2 × cohort\.source_missing"):
        require_every_side(
            run.manifest,
            {"train": (), "validate": (), "calibrate": (), "test": ()},
            [SetAside("a", "cohort.source_missing"), SetAside("b", "cohort.source_missing")],
        )
    few = SplitShares.of((0.0001, 0.3, 0.3, 0.3999))
    import_cohort(run.root, tmp_path / "b", catalogue, shares=few)
    with pytest.raises(TrainingError) as caught:
        load_cohort(imported_config(tmp_path / "b"), run.out / "features")
    assert caught.value.code == "cohort.nothing_to_learn"


def test_a_test_study_or_its_patient_on_another_side_is_refused(run: ImportedRun) -> None:
    loaded = load_cohort(imported_config(run.manifest_folder), run.out / "features")
    tested = loaded.features["test"][0]
    words = phantom_words(PhantomCohortConfig())
    for leaked in (tested, StudyFeatures("other", tested.features_SD, tested.labels_C, False, tested.patient_key)):
        features = {**loaded.features, "train": (*loaded.features["train"], leaked)}
        with pytest.raises(TrainingError) as caught:
            LoadedCohort(loaded.keys, features, words, {})
        assert caught.value.code == "cohort.test_part_in_use"


def test_features_of_persons_are_never_shipped(run: ImportedRun, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        ship(run.out, tmp_path)
    assert caught.value.code == "training.ship_cohort"
    assert not any(tmp_path.iterdir())


def test_feedback_on_the_test_part_is_not_learnt_from(tiny_run: TinyRun, tmp_path: Path, catalogue: Catalogue) -> None:
    """One reviewed study is in the test part, one of its patient is not in the cohort, a third is somebody else's."""
    with Store.open(tmp_path / "store.sqlite") as store:
        tested = add_phantom(store, tmp_path / "own" / "study0", seed=500, patient_id="PHANTOM-500")
        other = add_phantom(store, tmp_path / "same_patient", seed=501, patient_id="PHANTOM-500")
        free = add_phantom(store, tmp_path / "free", seed=502)
        for reviewed in (tested, other, free):
            state(store, reviewed, {"meningioma": True})
    (tmp_path / "own" / "table.csv").write_text("path,lipoma\nstudy0,1\n", encoding="utf-8")
    shares = SplitShares.of((0.0001, 0.0, 0.0, 0.9999))
    manifest = import_cohort(tmp_path / "own", tmp_path / "imported", catalogue, shares=shares).manifest
    assert len(manifest.on("test")) == 1
    assert TestPart([manifest]).holds(manifest.studies[0].series_key, "")
    retrain_command(
        str(tmp_path / "store.sqlite"),
        tiny_run.package,
        tmp_path / "out",
        tiny_run.reference,
        config=RetrainConfig(epochs=1, heldout_fraction=0.0, threads=1),
        cohorts=[tmp_path / "imported"],
    )
    own = read_comparison(tmp_path / "out" / "comparison.json").own
    assert (own.n_train, own.n_heldout) == (1, 0)
    assert sorted((Path(item.source_path).name, item.code) for item in own.skipped) == [
        ("same_patient", "training.test_part"),
        ("study0", "training.test_part"),
    ]


def test_the_configuration_tells_the_kinds_of_cohort_apart(tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text('[cohort]\nkind = "imported"\nmanifest = "some/where"\n', encoding="utf-8")
    config = TrainConfig.from_toml(toml)
    assert config.cohort == ImportedCohortConfig(manifest=Path("some/where"))
    assert (config.name, config.notice) == ("imported-cohort", "Trained on an imported cohort, for research only")
    assert isinstance(TrainConfig.model_validate({"cohort": {"n_train": 400}}).cohort, PhantomCohortConfig)
    for wrong in ('kind = "imported"\nn_train = 3', 'kind = "imported"', 'kind = "rsna"', 'manifest = "x"'):
        toml.write_text(f"[cohort]\n{wrong}\n", encoding="utf-8")
        with pytest.raises(Exception, match=r"run\.toml.*cohort"):
            TrainConfig.from_toml(toml)
