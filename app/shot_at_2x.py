"""The picture of a 4K screen at 200 %: Qt takes its scale once a process, so this one has a process of its own.

``QT_SCALE_FACTOR=2 python -m app.shot_at_2x HOME OUT``, in a home where the demo studies are analysed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtWidgets import QApplication

from app.composition import Application
from app.settings import AppPaths, Settings

NAME = "review_3840x2160"
PATIENCE_S = 120.0


def main(home: Path, out: Path) -> int:
    """Take it; the exit code."""
    from app.views import theme
    from app.views.main_window import MainWindow
    from app.views.shots import PICTURE_SIZE, settle, take
    from app.views.tour import FINDING, READERS

    paths = AppPaths.at(home).create()
    qt = QApplication(sys.argv[:1])
    theme.apply_theme(qt, paths.resources)
    application = Application(paths, Settings(reader=READERS[0]))
    window = MainWindow(application.models, application, paths.resources)
    window.resize(*PICTURE_SIZE)
    window.show()
    try:
        application.start()
        application.open_demo()
        settle(PATIENCE_S, lambda: application.demo_settled)
        application.require_demo_analysed()
        rows = application.models.worklist.rows
        application.select_series(next(row for row in rows if row.patient_id.startswith("PHANTOM")).series_uid)
        settle(0.5)
        settle(PATIENCE_S, lambda: application.demo_settled)
        application.models.findings.selected_key = FINDING
        application.models.evidence.jump_to_strongest()
        print(take(out, window, NAME))
    finally:
        window.close()
        application.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
