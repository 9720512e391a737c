from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import PackageError
from engine.models.library import ModelLibrary
from engine.models.manifest import Manifest
from tests.support.models import tiny_registry, write_random_package

KEYS = ("subdural_hematoma", "acute_infarct")
REGISTRY = tiny_registry()


@pytest.fixture
def bundled(tmp_path: Path) -> Manifest:
    return write_random_package(tmp_path / "bundled" / "demo", KEYS, REGISTRY, name="demo")


@pytest.fixture
def library(tmp_path: Path, bundled: Manifest) -> ModelLibrary:
    return ModelLibrary(tmp_path / "home" / "models", tmp_path / "bundled", REGISTRY)


def candidate(tmp_path: Path, seed: int, name: str = "retrained") -> tuple[Path, Manifest]:
    folder = tmp_path / f"candidate-{seed}"
    created = datetime(2026, 2, seed, tzinfo=UTC)
    return folder, write_random_package(folder, KEYS, REGISTRY, seed=seed, name=name, created=created)


def code_of(action: object, *arguments: object) -> str:
    with pytest.raises(PackageError) as caught:
        action(*arguments)
    return caught.value.code


def test_before_any_choice_the_bundled_model_is_active(
    library: ModelLibrary, bundled: Manifest, tmp_path: Path
) -> None:
    active = library.active()
    assert active is not None
    assert (active.name, active.digest, active.bundled, active.active) == ("demo", bundled.digest, True, True)
    assert active.notice == "Random weights, for tests only."
    assert not (tmp_path / "home").exists()


def test_an_empty_library_has_no_active_model(tmp_path: Path) -> None:
    library = ModelLibrary(tmp_path / "a", tmp_path / "b", REGISTRY)
    assert library.list() == ()
    assert library.active() is None


def test_install_activate_and_roll_back(library: ModelLibrary, bundled: Manifest, tmp_path: Path) -> None:
    first_path, first = candidate(tmp_path, 1)
    second_path, second = candidate(tmp_path, 2)
    installed = library.install(first_path)
    assert installed.path == tmp_path / "home" / "models" / f"retrained-{first.digest[:8]}"
    assert not installed.active
    shutil.rmtree(first_path)
    library.install(second_path)
    assert [entry.digest for entry in library.list()] == [bundled.digest, first.digest, second.digest]
    library.activate(first.digest)
    library.activate(second.digest[:10])
    reopened = ModelLibrary(tmp_path / "home" / "models", tmp_path / "bundled", REGISTRY)
    assert [entry.digest for entry in reopened.list() if entry.active] == [second.digest]
    assert reopened.rollback().digest == first.digest
    assert reopened.rollback().digest == bundled.digest
    assert code_of(reopened.rollback) == "library.no_history"
    active = library.active()
    assert active is not None
    assert active.digest == bundled.digest


def test_activating_the_active_one_adds_no_step(library: ModelLibrary, bundled: Manifest, tmp_path: Path) -> None:
    path, made = candidate(tmp_path, 1)
    library.install(path)
    library.activate(made.digest)
    library.activate(made.digest)
    assert library.rollback().digest == bundled.digest


def test_installing_twice_is_the_same_as_once(library: ModelLibrary, bundled: Manifest, tmp_path: Path) -> None:
    path, _ = candidate(tmp_path, 1)
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", path))
    assert library.install(path) == library.install(archive)
    assert library.install(tmp_path / "bundled" / "demo").bundled
    assert len(library.list()) == 2


def test_a_damaged_package_is_neither_installed_nor_activated(
    library: ModelLibrary, bundled: Manifest, tmp_path: Path
) -> None:
    path, made = candidate(tmp_path, 1)
    card = path / "MODEL_CARD.md"
    card.write_text("changed")
    assert code_of(library.install, path) == "package.changed"
    assert not (tmp_path / "home" / "models").exists()
    card.write_text("# Tests only\n")
    installed = library.install(path)
    (installed.path / "model.safetensors").write_bytes(b"")
    assert code_of(library.activate, made.digest) == "package.changed"
    assert code_of(library.find, "retrained") == "package.changed"
    active = library.active()
    assert active is not None
    assert active.digest == bundled.digest


def test_find_by_name_digest_and_path(library: ModelLibrary, bundled: Manifest, tmp_path: Path) -> None:
    path, made = candidate(tmp_path, 1)
    assert library.find("demo").digest == bundled.digest
    assert library.find(bundled.digest[:4].upper()).digest == bundled.digest
    outside = library.find(str(path))
    assert (outside.digest, outside.bundled, outside.active) == (made.digest, False, False)
    assert code_of(library.find, "nothing") == "library.unknown"
    assert code_of(library.find, bundled.digest[:3]) == "library.unknown"
    assert code_of(library.activate, str(path)) == "library.unknown"


def test_a_name_with_two_packages_is_ambiguous(library: ModelLibrary, tmp_path: Path) -> None:
    made = [candidate(tmp_path, seed)[1] for seed in (1, 2)]
    for seed in (1, 2):
        library.install(tmp_path / f"candidate-{seed}")
    with pytest.raises(PackageError) as caught:
        library.activate("retrained")
    assert caught.value.code == "library.ambiguous"
    assert all(manifest.digest[:12] in caught.value.message for manifest in made)


def test_a_lost_active_package_is_said_not_replaced(library: ModelLibrary, bundled: Manifest, tmp_path: Path) -> None:
    path, made = candidate(tmp_path, 1)
    installed = library.install(path)
    library.activate(made.digest)
    shutil.rmtree(installed.path)
    assert code_of(library.active) == "library.gone"
    assert library.rollback().digest == bundled.digest


@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 2}', '{"surprise": 1}'])
def test_a_damaged_state_file_is_named(library: ModelLibrary, tmp_path: Path, content: str) -> None:
    root = tmp_path / "home" / "models"
    root.mkdir(parents=True)
    (root / "active.json").write_text(content)
    with pytest.raises(PackageError, match=r"active\.json") as caught:
        library.active()
    assert caught.value.code == "library.state"


def test_broken_folders_are_listed_apart(library: ModelLibrary, tmp_path: Path) -> None:
    broken = tmp_path / "home" / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    assert [entry.name for entry in library.list()] == ["demo"]
    (found,) = library.broken()
    assert found.path == broken


def test_the_state_is_written_whole(library: ModelLibrary, bundled: Manifest, tmp_path: Path) -> None:
    path, made = candidate(tmp_path, 1)
    library.install(path)
    library.activate(made.digest)
    root = tmp_path / "home" / "models"
    assert json.loads((root / "active.json").read_text()) == {
        "schema_version": 1,
        "active": made.digest,
        "history": [bundled.digest],
    }
    assert sorted(item.name for item in root.iterdir()) == ["active.json", f"retrained-{made.digest[:8]}"]


def test_a_package_with_a_finding_outside_the_catalogue_is_nowhere_accepted(
    library: ModelLibrary, tmp_path: Path
) -> None:
    path, made = candidate(tmp_path, 1)
    library.install(path)
    library.activate(made.digest)
    library.activate("demo")
    narrower = ModelLibrary(tmp_path / "home" / "models", tmp_path / "bundled", REGISTRY, KEYS[:1])
    for action, argument in (
        (narrower.install, path),
        (narrower.find, str(path)),
        (narrower.find, made.digest),
        (narrower.activate, made.digest),
    ):
        assert code_of(action, argument) == "package.unknown_finding"
    assert code_of(narrower.rollback) == "package.unknown_finding"
