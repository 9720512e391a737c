"""The model library as the window lists it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.controllers.rows import model_row
from app.operations.backbones import BackboneNeed
from app.operations.models import damage_by_digest, open_library
from app.settings import AppPaths
from engine.errors import PackageError
from engine.findings.catalogue import Catalogue
from tests.support.models import write_random_package


def test_the_list_tells_a_damaged_package_from_a_whole_one(tmp_path: Path, catalogue: Catalogue) -> None:
    write_random_package(tmp_path / "package", tuple(catalogue)[:7])
    library = open_library(AppPaths.at(tmp_path / "home").create())
    entry = library.install(tmp_path / "package")
    assert damage_by_digest(library)[entry.digest] == ""
    need = BackboneNeed("efficientnet_lite0", "EfficientNet-Lite0", "0" * 64, present=True)
    row = model_row(entry, "", need)
    assert (row.n_findings, row.verify_state) == (7, "verified")

    metrics = entry.path / "metrics.json"
    metrics.write_bytes(metrics.read_bytes() + b" ")
    damage = damage_by_digest(library)[entry.digest]
    assert "metrics.json" in damage
    row = model_row(entry, damage, need)
    assert (row.verify_state, row.message) == ("failed", damage)


def test_whether_one_can_go_back_is_the_librarys_to_say(tmp_path: Path, catalogue: Catalogue) -> None:
    paths = AppPaths.at(tmp_path / "home").create()
    library = open_library(paths)
    assert not library.can_roll_back
    for seed in (1, 2):
        write_random_package(tmp_path / str(seed), tuple(catalogue)[:3], seed=seed, version=str(seed))
        library.activate(library.install(tmp_path / str(seed)).digest)
    assert library.can_roll_back

    (paths.models / "active.json").write_text("{")
    with pytest.raises(PackageError) as caught:
        bool(library.can_roll_back)
    assert caught.value.code == "library.state"
