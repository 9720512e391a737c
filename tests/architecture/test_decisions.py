"""The index of decisions names each one, by its own title, in order."""

from __future__ import annotations

from tests.conftest import PROJECT_ROOT


def test_every_decision_stands_in_the_index_under_its_own_title() -> None:
    folder = PROJECT_ROOT / "docs" / "adr"
    expected = []
    for number, path in enumerate(sorted(folder.glob("0*.md")), start=1):
        title = path.read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith(f"# {number}. "), f"{path.name}: {title}"
        assert path.name.startswith(f"{number:04d}-")
        expected.append(f"| {number} | [{title.partition('. ')[2]}]({path.name}) |")
    written = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in written if line.startswith("| ") and "](" in line] == expected
