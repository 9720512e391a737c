"""The window as a process of its own: usable, free of torch even after an analysis, and safe to kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from app.operations.models import open_library
from app.settings import AppPaths
from engine.findings.catalogue import Catalogue
from engine.store.repository import Store
from tests.support.models import write_random_package

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, os, sys, time
from pathlib import Path
from PySide6.QtWidgets import QApplication
from app.composition import Application
from app.settings import AppPaths, Settings
from app.views.main_window import MainWindow
from app.views.shots import settle

if __name__ == "__main__":
    qt = QApplication([])
    paths = AppPaths.at(Path(sys.argv[1]))
    application = Application(paths, Settings(reader="R", device="cpu", threads=1))
    window = MainWindow(application.models, application, paths.resources)
    window.show()
    application.start()
    application.open_paths([Path(sys.argv[2])])
    models = application.models
    settle(120, lambda: bool(models.worklist.rows) and models.worklist.rows[0].n_positive is not None)
    key = next(row.key for row in models.findings.rows if row.covered)
    models.findings.selected_key = key
    models.feedback.edit(comment="kept")
    models.feedback.give("present")
    settle(30, lambda: models.findings.row(key).feedback is not None)
    print(json.dumps({
        "torch": sorted({"torch", "timm", "peft"} & set(sys.modules)),
        "worker": application.compute.pid,
        "series": models.worklist.rows[0].series_uid,
        "key": key,
        "errors": [notice.message for notice in models.notices.notices if notice.severity == "error"],
    }), flush=True)
    settle(120)
"""


@pytest.fixture
def home(tmp_path: Path, catalogue: Catalogue) -> Path:
    write_random_package(tmp_path / "package", tuple(catalogue)[:10])
    paths = AppPaths.at(tmp_path / "home").create()
    library = open_library(paths)
    library.activate(library.install(tmp_path / "package").digest)
    return tmp_path / "home"


def gone(pid: int, within_s: float) -> bool:
    """Whether a process ends in time; a zombie that nobody has collected yet has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_torch_stays_out_and_a_killed_window_leaves_its_verdicts_and_no_worker(
    tmp_path: Path, home: Path, ge_tilt: Path
) -> None:
    script = tmp_path / "window.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, str(script), str(home), str(ge_tilt)], stdout=subprocess.PIPE, text=True, env=environment
    ) as window:
        assert window.stdout is not None
        said = json.loads(window.stdout.readline())
        window.send_signal(signal.SIGKILL)
    assert said["torch"] == [], "torch lives in the worker only"
    assert said["errors"] == []
    assert gone(said["worker"], within_s=20), "the worker ends with its window"
    with Store.open(home / "store.sqlite") as store:
        standing = store.current_feedback(said["series"])
        assert [row.state for row in store.list_series()] == ["analysed"]
    assert standing[said["key"]].comment == "kept"


def test_the_window_comes_up_says_so_and_ends_cleanly(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--home", str(home), "--quit-after-start"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "usable"), done.stderr
    assert json.loads((home / "settings.json").read_text(encoding="utf-8"))["window_geometry"]


def test_without_a_display_the_window_is_refused_with_a_reason(home: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if "DISPLAY" not in key and key != "QT_QPA_PLATFORM"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )
    if sys.platform.startswith("linux"):
        assert done.returncode == 5
        assert "DISPLAY" in done.stderr


SHOTS = """
import dataclasses, sys
from pathlib import Path
from app.commands.base import Environment, Programs
from app.errors import exit_code, terminal_message
from app.window import take_shots
from engine.errors import HeadCTError

if __name__ == "__main__":
    environment = Environment(Path(sys.argv[1]), Programs(*[None] * 6))
    environment.paths = dataclasses.replace(environment.paths, resources=Path(sys.argv[2]))
    try:
        sys.exit(take_shots(environment, Path(sys.argv[3])))
    except HeadCTError as error:
        print(terminal_message(error), file=sys.stderr)
        sys.exit(exit_code(error))
"""


def test_shots_of_a_demo_that_was_not_analysed_are_5_and_name_it(tmp_path: Path, resources: Path) -> None:
    crippled = tmp_path / "resources"
    crippled.mkdir()
    for item in resources.iterdir():
        if item.name != "models":
            (crippled / item.name).symlink_to(item)
    script, out = tmp_path / "shots.py", tmp_path / "out"
    script.write_text(SHOTS)
    out.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "home"), str(crippled), str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 5, done.stderr
    assert "demo.not_analysed" in done.stderr
    assert "head_ct_ge_tilt" in done.stderr
    assert "phantom" in done.stderr
    assert list(out.iterdir()) == []
