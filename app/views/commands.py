"""The one table of actions: toolbar, menus, shortcuts and help all derive from it.

Tools and window presets bring their own rows from their registries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from app.tools.registry import tools
from app.viewmodels.findings import Verdict
from app.viewmodels.viewer import PRESETS

Scope = Literal["window", "viewer"]
Group = Literal["File", "View", "Tools", "Window presets", "Findings", "Model", "Help"]
GROUPS: tuple[Group, ...] = ("File", "View", "Tools", "Window presets", "Findings", "Model", "Help")


class CommandTarget(Protocol):
    """What the window offers to the table."""

    def ask_open_folder(self) -> None:
        """Ask for a folder and open it."""

    def ask_open_file(self) -> None:
        """Ask for files and open them."""

    def open_demo(self) -> None:
        """Open the demo studies."""

    def analyse_current(self) -> None:
        """Run the model on the current series."""

    def cancel_current_job(self) -> None:
        """Stop the running job."""

    def open_export(self) -> None:
        """Open the export dialog."""

    def open_retrain(self) -> None:
        """Open the retraining dialog."""

    def open_models(self) -> None:
        """Open the models dialog."""

    def open_preferences(self) -> None:
        """Open the preferences."""

    def open_volume_view(self) -> None:
        """Open the 3D view."""

    def open_help(self) -> None:
        """Open keys and help."""

    def open_about(self) -> None:
        """Open the about dialog."""

    def close_window(self) -> None:
        """Close the window."""

    def toggle_studies(self) -> None:
        """Show or hide the study list."""

    def toggle_evidence(self) -> None:
        """Show or hide the evidence strip."""

    def toggle_full_screen(self) -> None:
        """Enter or leave full screen."""

    def toggle_overlays(self) -> None:
        """Show or hide the text over the picture."""

    def toggle_smoothing(self) -> None:
        """Interpolate between pixels, or not."""

    def toggle_cine(self) -> None:
        """Play the slices, or stop."""

    def toggle_split(self) -> None:
        """Split the ledger's bars, or not."""

    def fit(self) -> None:
        """Fit the slice."""

    def zoom_in(self) -> None:
        """Magnify."""

    def zoom_out(self) -> None:
        """Shrink."""

    def scroll(self, steps: int) -> None:
        """Move by slices."""

    def scroll_to_end(self, last: bool) -> None:
        """Show the first or last slice."""

    def choose_tool(self, key: str) -> None:
        """Put a tool on the left button."""

    def choose_preset(self, key: str) -> None:
        """Apply a window preset."""

    def give_verdict(self, verdict: Verdict) -> None:
        """Save a verdict on the selected finding."""

    def undo_verdict(self) -> None:
        """Withdraw the newest verdict."""

    def select_finding(self, step: int) -> None:
        """Select the next or previous finding."""

    def select_study(self, step: int) -> None:
        """Select the next or previous series."""

    def focus_search(self) -> None:
        """Go to the search box."""

    def jump_to_strongest(self, against: bool) -> None:
        """Show the slice that pushed the finding most."""


@dataclass(frozen=True)
class Command:
    """One action.

    Attributes
    ----------
    id
        Stable and unique.
    shortcuts
        Portable key sequences; the first stands in menus and help.
    scope
        Whether the keys work in the whole window or only while the viewer has the focus.
    check_group
        Commands of one group are checkable and exclude each other.
    toolbar
        Whether it has a button.
    """

    id: str
    text: str
    shortcuts: tuple[str, ...]
    help: str
    group: Group
    handler: Callable[[], None]
    icon: str = ""
    scope: Scope = "window"
    check_group: str = ""
    toolbar: bool = False


def build_commands(target: CommandTarget) -> tuple[Command, ...]:
    """Return every action of the window, in menu order.

    Raises
    ------
    ValueError
        If two actions share an id or a key.
    """
    table = (*_file(target), *_view(target), *_tools(target), *_presets(target), *_findings(target), *_model(target))
    return checked((*table, *_help(target)))


def checked(commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Return the commands if no two share an id or a key; raise ValueError otherwise."""
    ids: set[str] = set()
    keys: dict[str, str] = {}
    for command in commands:
        if command.id in ids:
            raise ValueError(f"two actions have the id {command.id}")
        ids.add(command.id)
        for key in command.shortcuts:
            if key in keys:
                raise ValueError(f"the actions {keys[key]} and {command.id} share the key {key}")
            keys[key] = command.id
    return commands


def _file(t: CommandTarget) -> tuple[Command, ...]:
    return (
        Command(
            "open_folder",
            "Open folder…",
            ("Ctrl+O",),
            "Scan a folder for head CT series; dropping works too",
            "File",
            t.ask_open_folder,
            "open_folder",
            toolbar=True,
        ),
        Command(
            "open_file",
            "Open file or ZIP…",
            ("Ctrl+Shift+O",),
            "Open DICOM files, a ZIP or a NIfTI volume",
            "File",
            t.ask_open_file,
            "open_file",
            toolbar=True,
        ),
        Command(
            "open_demo", "Open demo studies", (), "The real scan and the phantom that ship along", "File", t.open_demo
        ),
        Command(
            "export",
            "Export corrections…",
            ("Ctrl+E",),
            "Write the readers' verdicts to a file",
            "File",
            t.open_export,
            "export",
            toolbar=True,
        ),
        Command("preferences", "Preferences…", ("Ctrl+,",), "The reader's name", "File", t.open_preferences),
        Command("quit", "Quit", ("Ctrl+Q",), "Close the window; everything is already saved", "File", t.close_window),
    )


def _view(t: CommandTarget) -> tuple[Command, ...]:
    return (
        Command("fit", "Fit", ("F",), "Show the whole slice (double click)", "View", t.fit, "fit", toolbar=True),
        Command("zoom_in", "Zoom in", ("Ctrl++", "Ctrl+="), "Magnify (Ctrl+wheel)", "View", t.zoom_in),
        Command("zoom_out", "Zoom out", ("Ctrl+-",), "Shrink (Ctrl+wheel)", "View", t.zoom_out),
        Command(
            "previous", "Previous slice", ("Up", "Left"), "Wheel up", "View", partial(t.scroll, -1), scope="viewer"
        ),
        Command("next", "Next slice", ("Down", "Right"), "Wheel down", "View", partial(t.scroll, 1), scope="viewer"),
        Command("page_up", "Five slices back", ("PgUp",), "", "View", partial(t.scroll, -5), scope="viewer"),
        Command("page_down", "Five slices on", ("PgDown",), "", "View", partial(t.scroll, 5), scope="viewer"),
        Command("first", "First slice", ("Home",), "", "View", partial(t.scroll_to_end, False), scope="viewer"),
        Command("last", "Last slice", ("End",), "", "View", partial(t.scroll_to_end, True), scope="viewer"),
        Command("cine", "Cine", ("Space",), "Play the slices; again to stop", "View", t.toggle_cine, scope="viewer"),
        Command("overlays", "Text overlays", ("O",), "Show or hide the corner texts", "View", t.toggle_overlays),
        Command(
            "smoothing", "Smoothing", ("Shift+S",), "Interpolate between pixels, or not", "View", t.toggle_smoothing
        ),
        Command(
            "volume",
            "3D view",
            ("V",),
            "Volume rendering, bone and brain",
            "View",
            t.open_volume_view,
            "cube",
            toolbar=True,
        ),
        Command("studies", "Study list", ("L",), "Show or hide the list on the left", "View", t.toggle_studies),
        Command("evidence", "Evidence strip", ("E",), "Show or hide the strip", "View", t.toggle_evidence),
        Command("full_screen", "Full screen", ("F11",), "Enter or leave full screen", "View", t.toggle_full_screen),
    )


def _tools(t: CommandTarget) -> tuple[Command, ...]:
    return tuple(
        Command(
            f"tool_{tool.key}",
            tool.label,
            (tool.shortcut,),
            tool.help,
            "Tools",
            partial(t.choose_tool, tool.key),
            tool.icon,
            check_group="tools",
            toolbar=True,
        )
        for tool in tools().values()
    )


def _presets(t: CommandTarget) -> tuple[Command, ...]:
    return tuple(
        Command(
            f"preset_{preset.key}",
            preset.label,
            (preset.shortcut,),
            "The range of the values"
            if preset.center is None
            else f"Centre {preset.center:g}, width {preset.width:g} HU",
            "Window presets",
            partial(t.choose_preset, preset.key),
            check_group="presets",
        )
        for preset in PRESETS
    )


def _findings(t: CommandTarget) -> tuple[Command, ...]:
    return (
        Command("search", "Search findings", ("Ctrl+F",), "Labels and synonyms", "Findings", t.focus_search),
        Command("next_finding", "Next finding", ("N",), "↓ in the list", "Findings", partial(t.select_finding, 1)),
        Command(
            "previous_finding",
            "Previous finding",
            ("Shift+N",),
            "↑ in the list",
            "Findings",
            partial(t.select_finding, -1),
        ),
        Command(
            "agree", "Agree", ("A",), "Save: the model is right", "Findings", partial(t.give_verdict, "agree"), "agree"
        ),
        Command(
            "disagree",
            "Disagree",
            ("D",),
            "Save: the model is wrong",
            "Findings",
            partial(t.give_verdict, "disagree"),
            "disagree",
        ),
        Command(
            "unsure", "Unsure", ("U",), "Save: cannot tell", "Findings", partial(t.give_verdict, "unsure"), "unsure"
        ),
        Command("undo", "Undo verdict", ("Ctrl+Z",), "Withdraw the newest verdict", "Findings", t.undo_verdict, "undo"),
        Command(
            "jump",
            "Jump to the slice that pushed it up most",
            ("J",),
            "From the ledger",
            "Findings",
            partial(t.jump_to_strongest, False),
            "jump",
        ),
        Command(
            "jump_against",
            "Jump to the slice that pushed it down most",
            ("Shift+J",),
            "From the ledger",
            "Findings",
            partial(t.jump_to_strongest, True),
        ),
        Command("split", "Split frozen path and experts", ("B",), "In the ledger's bars", "Findings", t.toggle_split),
        Command("next_study", "Next study", ("Ctrl+Down",), "", "Findings", partial(t.select_study, 1)),
        Command("previous_study", "Previous study", ("Ctrl+Up",), "", "Findings", partial(t.select_study, -1)),
    )


def _model(t: CommandTarget) -> tuple[Command, ...]:
    return (
        Command(
            "analyse",
            "Analyse",
            ("Ctrl+Return",),
            "Run the active model on this series",
            "Model",
            t.analyse_current,
            "analyse",
            toolbar=True,
        ),
        Command("cancel", "Cancel job", ("Ctrl+.",), "Stop what the status bar shows", "Model", t.cancel_current_job),
        Command(
            "retrain",
            "Retrain…",
            ("Ctrl+T",),
            "Make a candidate model from the feedback",
            "Model",
            t.open_retrain,
            "retrain",
            toolbar=True,
        ),
        Command(
            "models",
            "Models…",
            ("Ctrl+M",),
            "Installed models, install, activate, roll back",
            "Model",
            t.open_models,
            "models",
            toolbar=True,
        ),
    )


def _help(t: CommandTarget) -> tuple[Command, ...]:
    return (
        Command("help", "Keys and help", ("F1",), "This list", "Help", t.open_help, "help", toolbar=True),
        Command("about", "About…", (), "Research use, licences, versions", "Help", t.open_about),
    )
