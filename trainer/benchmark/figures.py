"""Figures 2 and 3 as SVG and PNG, without a display; the same report gives the same bytes.

Blue is the base and orange the mixture (Okabe and Ito's colours, which the colour-blind tell apart); hatching, line
styles and markers differ too, so that the figures can be read in grey.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.benchmark.config import Block
from trainer.benchmark.measures import ArmMeasure
from trainer.benchmark.report import BenchmarkReport, ModelRow, arm_title
from trainer.benchmark.stratified import band_counts
from trainer.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASE_COLOUR, BASE_LIGHT = "#0072B2", "#9FCDE8"
MOLRE_COLOUR, MOLRE_LIGHT = "#D55E00", "#F4BE94"
GREY = "#6E6E6E"
PNG_DPI = 150
_STYLE: Any = {
    "svg.hashsalt": "benchmark",
    # Text stays text: it can be searched, read out and copied.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_BAR = 0.38
_RADAR_STEP = 0.1
# Inches: width and height of the picture, side of the radar, and what lies under it: names, legend, footnote.
_RADAR_SIZE = (15.0, 16.2, 8.7)
_RADAR_BOTTOM = 3.9
_LABEL_GAP = 0.02


def write_figures(report: BenchmarkReport, out: Path) -> tuple[Path, ...]:
    """Write ``figure2`` and a ``figure3-BLOCK-BACKBONE`` for each backbone that has a base or a mixture.

    Raises
    ------
    TrainingError
        If the folder cannot be written.
    """
    from matplotlib import rc_context

    with rc_context(_STYLE):
        written = list(_write(draw_figure2(report), out / "figure2"))
        for row in report.rows:
            if _pair(row) != (None, None) and report.enough_C.any():
                name = f"figure3-{row.block.key}-{_slug(row.name)}"
                written += _write(draw_figure3(report, row), out / name)
    return tuple(written)


def draw_figure2(report: BenchmarkReport) -> Figure:
    """Draw how many findings have an AUC of 0.90 or more and of 0.80 to 0.90, a panel a block."""
    from matplotlib.figure import Figure

    widest = max(len(report.of(block)) for block in report.blocks)
    size = (max(7.0, 2.6 + 1.9 * widest), 1.3 + 4.0 * len(report.blocks))
    figure = Figure(figsize=size, layout="constrained")
    for axes, block in zip(figure.subplots(len(report.blocks), 1, squeeze=False)[:, 0], report.blocks, strict=True):
        _bars(axes, report, block)
    figure.suptitle(_title(f"Findings by AUC, of {int(report.enough_C.sum())} with enough cases", report), fontsize=12)
    return figure


def _bars(axes: Axes, report: BenchmarkReport, block: Block) -> None:
    rows = report.of(block)
    pairs = ((BASE_COLOUR, BASE_LIGHT, block.base), (MOLRE_COLOUR, MOLRE_LIGHT, block.molre))
    for side, (dark, light, arm) in enumerate(pairs):
        for number, row in enumerate(rows):
            measure = row.measure(arm)
            x = number + (side - 0.5) * (_BAR + 0.04)
            if measure is None:
                axes.text(x, 0.4, "–", ha="center", va="bottom", color=GREY)
                continue
            high, moderate, _, _ = band_counts(measure.finding_aucs_C)
            axes.bar(x, high, _BAR, color=dark, edgecolor="black", linewidth=0.6)
            axes.bar(x, moderate, _BAR, high, color=light, edgecolor="black", linewidth=0.6, hatch="///")
            _number(axes, x, high / 2, high, "white")
            _number(axes, x, high + moderate / 2, moderate, "black")
    axes.set_title(block.title, fontsize=10.5, loc="left")
    axes.set_xticks(range(len(rows)), [_wrapped(row.title) for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(0, max(1, int(report.enough_C.sum())) * 1.02)
    axes.set_ylabel("Number of findings")
    _legend_of_bars(axes, block)


def _number(axes: Axes, x: float, y: float, value: int, colour: str) -> None:
    if value:
        box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"} if colour == "black" else None
        axes.text(x, y, str(value), ha="center", va="center", color=colour, fontsize=10, bbox=box)


def _legend_of_bars(axes: Axes, block: Block) -> None:
    from matplotlib.patches import Patch

    named = []
    for dark, light, arm in ((BASE_COLOUR, BASE_LIGHT, block.base), (MOLRE_COLOUR, MOLRE_LIGHT, block.molre)):
        named.append(Patch(facecolor=dark, edgecolor="black", label=f"{arm_title(arm)}: AUC ≥ 0.90"))
        named.append(Patch(facecolor=light, edgecolor="black", hatch="///", label=f"{arm_title(arm)}: 0.80 to 0.90"))
    axes.legend(handles=named, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def draw_figure3(report: BenchmarkReport, row: ModelRow) -> Figure:
    """Draw every finding's AUC on a spoke of its own, base against mixture; one with too few cases has no point."""
    from matplotlib.figure import Figure

    width, height, side = _RADAR_SIZE
    figure = Figure(figsize=(width, height))
    place = ((1.0 - side / width) / 2, _RADAR_BOTTOM / height, side / width, side / height)
    axes: Any = figure.add_axes(place, projection="polar")
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    angles_C = np.linspace(0.0, 2.0 * math.pi, len(report.keys), endpoint=False)
    lowest = _radar_floor([measure for measure in _pair(row) if measure is not None])
    _grid(axes, angles_C, lowest)
    base, molre = _pair(row)
    _ring(axes, angles_C, base, (arm_title(row.block.base), BASE_COLOUR, "--", "o"))
    _ring(axes, angles_C, molre, (arm_title(row.block.molre), MOLRE_COLOUR, "-", "s"))
    _spoke_names(axes, report, angles_C, lowest)
    figure.suptitle(_title(f"AUC of every finding: {row.title}", report), fontsize=15, y=0.985)
    figure.legend(loc="lower center", bbox_to_anchor=(0.5, 0.03), ncols=2, frameon=False, fontsize=13)
    figure.text(0.5, 0.012, _footnote(report), ha="center", fontsize=10.5, color=GREY)
    return figure


def _grid(axes: Any, angles_C: NDArray[np.float64], lowest: float) -> None:
    axes.set_ylim(lowest, 1.0)
    rings = [round(value, 2) for value in np.arange(lowest, 1.0 + 1e-9, _RADAR_STEP)]
    axes.set_yticks(rings, [""] * len(rings))
    between = angles_C[1] / 2 if len(angles_C) > 1 else 0.0
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for value in rings[1:]:
        height = "top" if value == rings[-1] else "center"
        axes.text(between, value, f"{value:.1f}", ha="center", va=height, fontsize=10, bbox=box, zorder=5)
    axes.set_xticks(angles_C, [""] * len(angles_C))
    axes.grid(color="#C8C8C8", linewidth=0.5)
    axes.spines["polar"].set_color("#A0A0A0")


def _ring(axes: Any, angles_C: NDArray[np.float64], measure: ArmMeasure | None, how: tuple[str, str, str, str]) -> None:
    if measure is None:
        return
    title, colour, line, marker = how
    aucs_C = measure.finding_aucs_C
    # A finding without an AUC interrupts the line.
    axes.plot(
        np.append(angles_C, 2.0 * math.pi),
        np.append(aucs_C, aucs_C[0]),
        line,
        color=colour,
        marker=marker,
        markersize=4.5,
        linewidth=1.5,
        label=f"{title} (mean {measure.mean:.3f})",
    )


def _spoke_names(axes: Any, report: BenchmarkReport, angles_C: NDArray[np.float64], lowest: float) -> None:
    """Write every finding's name outwards along its spoke, and never upside down."""
    outside = 1.0 + _LABEL_GAP * (1.0 - lowest)
    for angle, key, enough in zip(angles_C, report.keys, report.enough_C, strict=True):
        right = angle <= math.pi
        turn = 90.0 - math.degrees(angle)
        axes.text(
            angle,
            outside,
            report.names[key] if enough else f"{report.names[key]} †",
            rotation=turn if right else turn + 180.0,
            rotation_mode="anchor",
            ha="left" if right else "right",
            va="center",
            fontsize=10,
            color="black" if enough else GREY,
        )


def _footnote(report: BenchmarkReport) -> str:
    seeds = f"AUC averaged over {len(report.seeds)} seeds. " if len(report.seeds) > 1 else ""
    few = "† too few cases for an AUC." if report.too_few else ""
    return (seeds + few).strip()


def _radar_floor(measures: Sequence[ArmMeasure]) -> float:
    """Return where the middle of the radar lies: at a whole step at or below the lowest AUC, at 0.5 or lower."""
    lowest = min(float(np.nanmin(measure.finding_aucs_C)) for measure in measures)
    return max(0.0, min(0.5, math.floor(lowest / _RADAR_STEP + 1e-9) * _RADAR_STEP))


def _pair(row: ModelRow) -> tuple[ArmMeasure | None, ArmMeasure | None]:
    return row.measure(row.block.base), row.measure(row.block.molre)


def _title(what: str, report: BenchmarkReport) -> str:
    return f"{what}\n{report.n_studies} {report.words}"


def _wrapped(title: str) -> str:
    return title.replace(" (", "\n(")


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _write(figure: Figure, path: Path) -> tuple[Path, ...]:
    written = []
    for suffix, options in (
        (".svg", {"metadata": {"Date": None}}),
        (".png", {"dpi": PNG_DPI, "metadata": {"Software": None}}),
    ):
        content = io.BytesIO()
        figure.savefig(content, format=suffix[1:], **options)
        write_atomically(path.with_suffix(suffix), content.getvalue())
        written.append(path.with_suffix(suffix))
    return tuple(written)
