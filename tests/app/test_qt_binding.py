"""The installed Qt binding fits the installed Python.

PySide6 6.12.0 under Python 3.11 drops a reference to None with every call that returns nothing, and one to True with
every emitted signal; after some thousand calls the interpreter aborts. This test finds such a pair at once.
"""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
from PySide6.QtCore import QCoreApplication, QObject, Signal

class Sender(QObject):
    happened = Signal()

application = QCoreApplication([])
sender = Sender()
sender.happened.connect(lambda: None)
reserve = [None] * 10_000 + [True] * 10_000
before = sys.getrefcount(None), sys.getrefcount(True)
for _ in range(500):
    QCoreApplication.processEvents()
    sender.happened.emit()
print(before[0] - sys.getrefcount(None), before[1] - sys.getrefcount(True), flush=True)
"""


def test_calls_into_qt_keep_the_reference_counts_of_none_and_true() -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=environment
    )
    lost_none, lost_true = (int(word) for word in finished.stdout.split())
    assert lost_none < 250, f"PySide6 lost {lost_none} references to None in 500 calls: another version is needed"
    assert lost_true < 250, f"PySide6 lost {lost_true} references to True in 500 signals: another version is needed"
