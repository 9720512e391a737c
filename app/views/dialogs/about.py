"""What this program is and is not, versions and licences."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from app.viewmodels.library import ModelRow

PARTS = (
    ("head-ct-review", "Apache-2.0"),
    ("PySide6-Essentials", "LGPL-3.0"),
    ("pyqtgraph", "MIT"),
    ("vtk", "BSD-3-Clause"),
    ("torch", "BSD-3-Clause"),
    ("timm", "Apache-2.0"),
    ("peft", "Apache-2.0"),
    ("pydicom", "MIT"),
    ("SimpleITK", "Apache-2.0"),
    ("nibabel", "MIT"),
    ("numpy", "BSD-3-Clause"),
    ("scipy", "BSD-3-Clause"),
    ("sqlalchemy", "MIT"),
    ("pydantic", "MIT"),
    ("psygnal", "BSD-3-Clause"),
)


class AboutDialog(QDialog):
    """Research use, the active model, versions and licences."""

    def __init__(self, active: ModelRow | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("About")
        text = QTextBrowser()
        text.setHtml(about_html(active))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(text)
        layout.addWidget(buttons)
        self.resize(560, 520)


def about_html(active: ModelRow | None) -> str:
    """Return the text as rich text."""
    model = "No model is active." if active is None else f"{active.name}, {active.digest}. {active.notice}"
    rows = "".join(f"<tr><td>{name}</td><td>{_version(name)}</td><td>{licence}</td></tr>" for name, licence in PARTS)
    return (
        "<h2>Head CT review</h2>"
        "<p><b>Research use only. Not a medical device; not for diagnosis.</b></p>"
        "<p>Reviews non-contrast head CT with a classifier whose logits split exactly over slices and experts.</p>"
        f"<h3>Model</h3><p>{model}</p>"
        f"<h3>Versions and licences</h3><table cellpadding='4'>{rows}</table>"
        f"<p>Python {platform.python_version()} on {platform.system()} {platform.machine()}. "
        "Full texts: LICENSE and THIRD_PARTY.md.</p>"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from source"
