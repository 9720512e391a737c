"""Who imports whom: the contracts of pyproject.toml, and what must not be loaded in which process."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEAVES = ("engine", "trainer")


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter at the project's root."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["app.composition", "app.window", "app.views.main_window", "app.views.shots"])
def test_the_windows_modules_do_not_load_torch(module: str) -> None:
    done = python(f"import {module}, sys; print(sorted({{'torch', 'timm', 'peft'}} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_window_starts_without_what_it_needs_only_later() -> None:
    """The database, DICOM and 3D libraries are loaded off the GUI thread or on demand: the window is up sooner."""
    later = "{'sqlalchemy', 'alembic', 'pydicom', 'SimpleITK', 'vtkmodules', 'sklearn', 'scipy'}"
    done = python(f"import app.window, sys; print(sorted({later} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'pydantic', 'PySide6', 'psygnal', 'torch', 'pydicom', 'sqlalchemy', 'platformdirs'}"
    done = python(
        "import sys\nfrom main import main\ncode = main(['--help'])\n"
        f"print(code, sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    assert done.stderr.strip() == "0 []", done.stderr


@pytest.mark.parametrize("package", LEAVES)
def test_the_engine_and_the_trainer_run_where_there_is_no_qt(package: str) -> None:
    modules = [
        item.name
        for item in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if "migrations" not in item.name and not item.name.endswith("__main__")
    ]
    assert len(modules) > 10
    code = (
        "import importlib, sys\n"
        "for name in ('PySide6', 'pyqtgraph', 'vtkmodules', 'qtpy', 'shiboken6'): sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print('all imported')"
    )
    done = python(code)
    assert done.stdout.strip() == "all imported", done.stderr


def test_the_protocol_that_the_window_sees_is_free_of_torch() -> None:
    done = python(
        "import trainer.protocol, trainer.config, engine.models.library, engine.inference.worker\n"
        "import sys; print('torch' in sys.modules)"
    )
    assert done.stdout.strip() == "False", done.stderr
