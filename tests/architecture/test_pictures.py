"""Pictures of the documentation: each one named is there and taken by `make shots`, and no other is kept."""

from __future__ import annotations

import re

import pytest

from app.views.tour import PICTURES
from tests.conftest import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "pictures"
DOCUMENTS = (*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md"))
LINK = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


def test_the_folder_holds_what_is_taken_and_nothing_else() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.png" for name in PICTURES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_picture_that_a_document_names_is_taken(document) -> None:  # type: ignore[no-untyped-def]
    for words, link in LINK.findall(document.read_text(encoding="utf-8")):
        picture = (document.parent / link).resolve()
        assert picture.is_file(), link
        assert picture.parent == FOLDER, link
        assert picture.stem in PICTURES, link
        assert len(words) > 10, f"{link}: what is to be seen is said in words too"


def test_the_walk_through_a_case_is_there() -> None:
    text = (PROJECT_ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    assert len(LINK.findall(text)) >= 15
    assert "docs/reading.md" in (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
