"""The rule-based labeller as it ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.findings.catalogue import Catalogue
from trainer.labels.lexicon import load_lexicon
from trainer.labels.rules import RuleLabeller

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def rules(catalogue: Catalogue, resources: Path) -> RuleLabeller:
    return RuleLabeller(catalogue, load_lexicon(resources / "findings" / "report_lexicon.toml", catalogue))


@pytest.fixture
def synthetic() -> Path:
    """Synthetic reports, labelled by hand."""
    return DATA
