"""The table of parameters beside the paper's, as plain values and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from engine.models.parameters import ParameterCount

_PARTS = ("backbone", "lora", "query", "fusion", "head", "molre", "total")


def parameter_document(counts: Sequence[ParameterCount]) -> list[dict[str, Any]]:
    """Return every count with the paper's numbers, in parameters and, as printed there, in millions."""
    return [
        {
            **{name: value for name, value in asdict(count).items() if name != "paper"},
            "total": count.total,
            "paper_total_millions": count.paper.total,
            "paper_molre_millions": count.paper.molre,
            "total_agrees": count.total_agrees,
            "total_difference_millions": round(count.total_difference, 3),
            "molre_difference_millions": None if count.molre_difference is None else round(count.molre_difference, 3),
        }
        for count in counts
    ]


def parameter_lines(counts: Sequence[ParameterCount]) -> list[str]:
    """Put the table in lines for a person, every difference from the paper said."""
    columns = "".join(f"{name:>13}" for name in _PARTS)
    lines = [f"{'Model':<15}{columns}   paper total   MoLRE, paper"]
    for count in counts:
        parts = "".join(f"{getattr(count, name):>13,}" for name in _PARTS)
        lines.append(f"{count.row:<15}{parts}{_total(count):>14}   {_molre(count)}")
    return [
        *lines,
        "",
        "MoLRE counts its router (W1, b1, W2, b2); K = 6, rank 8, router width 256, 75 findings. The paper's MoLRE is "
        "larger by the difference shown: it fits rounding up.",
        *(_difference(count) for count in counts if not count.total_agrees),
        *(
            f"{count.row}: a stand-in ({count.backbone_name}); the published network's code is not public."
            for count in counts
            if count.stand_in
        ),
        *(f"{count.row}: no LoRA, as in the paper." for count in counts if not count.paper.lora),
    ]


def _total(count: ParameterCount) -> str:
    return f"{count.paper.total} M {'=' if count.total_agrees else '≠'}"


def _molre(count: ParameterCount) -> str:
    if count.paper.molre is None or count.molre_difference is None:
        return "none, none"
    return f"{count.molre / 1e6:.3f} M, {count.paper.molre} M ({count.molre_difference:+.3f})"


def _difference(count: ParameterCount) -> str:
    return (
        f"{count.row}: {count.total / 1e6:.1f} M here, {count.paper.total} M in the paper "
        f"({count.total_difference:+.1f} M)."
    )
