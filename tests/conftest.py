"""Fixtures shared by every suite."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.findings.catalogue import Catalogue, load_catalogue
from engine.inference.threads import wait_passively
from tests.support.display import own_display

own_display()

# Before any test imports torch: the workers of a parallel run share the cores.
wait_passively()

# Torch's triton and Mesa's software renderer both carry an LLVM, and the process dies where triton's comes second. The
# program never has both in one process: the window draws, the workers compute. One pytest process runs tests of each.
if importlib.util.find_spec("triton") is not None:
    importlib.import_module("triton")

PROJECT_ROOT = Path(__file__).resolve().parents[1]
SHARED = PROJECT_ROOT.parent / "shared"


@pytest.fixture(scope="session")
def resources() -> Path:
    return PROJECT_ROOT / "resources"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real DICOM and the malformed corpus, beside the project; their absence is an error, never a skip."""
    folder = SHARED / "data"
    assert folder.is_dir(), f"{folder} is missing: the tests need the shared data beside the project"
    return folder


@pytest.fixture(scope="session")
def ge_tilt(shared_data: Path) -> Path:
    """The real head CT: 28 slices, tilt 18.5 degrees, spacing 7.0 / 1.081 / 4.0 mm."""
    return shared_data / "head_ct_ge_tilt"


@pytest.fixture(scope="session")
def reference_vectors() -> Path:
    """Independent values of the MoLRE equations."""
    return SHARED / "reference" / "molre_vectors.npz"


@pytest.fixture(scope="session")
def catalogue(resources: Path) -> Catalogue:
    return load_catalogue(resources / "findings" / "catalogue.csv")


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test that uses the window must leave no thread, timer, window, process, block or open database behind."""
    if "qtbot" not in request.fixturenames:
        yield
        return
    from tests.support.leaks import nothing_left

    with nothing_left(request.getfixturevalue("monkeypatch")):
        yield
