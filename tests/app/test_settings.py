"""Settings: defaults that work, problems reported, files whole or unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import AppPaths, Settings, load_settings, save_settings
from engine.errors import ConfigError


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path / "settings.json")
    assert loaded.settings == Settings()
    assert not loaded.problems


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    settings = Settings(reader="Dr Ä", device="cpu", threads=2, window_geometry="AAAA")
    save_settings(tmp_path / "new" / "settings.json", settings)
    loaded = load_settings(tmp_path / "new" / "settings.json")
    assert loaded.settings == settings
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["settings.json"], "no temporary file is left"


def test_unknown_and_impossible_values_are_reported_and_the_rest_is_used(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"reader": "R", "device": "tpu", "colour": "blue"}))
    loaded = load_settings(file)
    assert loaded.settings == Settings(reader="R")
    (problem,) = loaded.problems
    assert "colour" in problem
    assert "device" in problem
    assert "tpu" not in problem


@pytest.mark.parametrize("text", ["{", "[]", "null", ""])
def test_a_file_that_is_no_document_is_reported(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    loaded = load_settings(file)
    assert loaded.settings == Settings()
    assert len(loaded.problems) == 1


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().reader = "other"  # type: ignore[misc]


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError) as caught:
        save_settings(tmp_path / "file" / "settings.json", Settings())
    assert caught.value.kind == "environment"


def test_a_home_holds_everything(tmp_path: Path) -> None:
    paths = AppPaths.at(tmp_path / "home").create()
    own = (paths.store_file, paths.models, paths.runs, paths.settings_file, paths.cache, paths.logs)
    assert all(path.is_relative_to(tmp_path / "home") for path in own)
    assert paths.catalogue_file.exists()


def test_without_a_home_the_platforms_folders_are_used() -> None:
    paths = AppPaths.at(None)
    assert "head-ct-review" in str(paths.store_file)
