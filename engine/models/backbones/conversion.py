"""From a published checkpoint's names to a network's: planned on shapes alone, carried out tensor by tensor.

No torch at import: a plan is made and checked before a single tensor is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import PackageError

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
_SHOWN = 5


@dataclass(frozen=True)
class Piece:
    """One tensor of the network: the published tensors that it is made of, and how."""

    sources: tuple[str, ...]
    make: Callable[..., Tensor]


@dataclass(frozen=True)
class ConversionPlan:
    """Where every published tensor goes.

    Attributes
    ----------
    pieces
        By the network's tensor name.
    dropped
        Published tensors that are left out on purpose, such as a classification layer.
    """

    pieces: Mapping[str, Piece]
    dropped: tuple[str, ...] = ()


def same(source: str) -> Piece:
    """Take a tensor as it is."""
    return Piece((source,), _first)


def concatenated(*sources: str) -> Piece:
    """Join tensors along their first axis."""
    return Piece(sources, _concatenate)


def part(source: str, index: int, n_parts: int) -> Piece:
    """Take one of `n_parts` equal parts of a tensor along its first axis."""
    return Piece((source,), lambda tensor: tensor.chunk(n_parts, dim=0)[index])


def transposed(source: str) -> Piece:
    """Transpose a matrix."""
    return Piece((source,), lambda tensor: tensor.mT)


def check_plan(plan: ConversionPlan, source: Shapes, target: Shapes, origin: str, display_name: str) -> None:
    """Check that a plan fills the network exactly and uses the whole file; no tensor is read for it.

    Parameters
    ----------
    plan
        To be checked.
    source, target
        Names and shapes of the file and of the network.
    origin
        What to call the file in messages.
    display_name
        What to call the network.

    Raises
    ------
    PackageError
        If a tensor is missing, left over, or of another shape; the first ones that differ are named.
    """
    used = {name for piece in plan.pieces.values() for name in piece.sources}
    missing = sorted(used - source.keys()) + sorted(target.keys() - plan.pieces.keys())
    left_over = sorted(source.keys() - used - set(plan.dropped)) + sorted(plan.pieces.keys() - target.keys())
    if missing or left_over:
        raise _keys_error(origin, display_name, missing, left_over)
    misshapen = []
    for name, piece in plan.pieces.items():
        shape = _made_shape(piece, source)
        if shape != target[name]:
            found = ", ".join(f"{item} {list(source[item])}" for item in piece.sources)
            misshapen.append(f"{found} does not give {name} {list(target[name])}")
    if misshapen:
        raise _refused(origin, display_name, f"wrong shapes: {'; '.join(misshapen[:_SHOWN])}{_more(misshapen)}")


def converted(plan: ConversionPlan, read: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the network's tensors one at a time, in the plan's order, reading each source only when it is needed."""
    for name, piece in plan.pieces.items():
        yield name, piece.make(*(read(source) for source in piece.sources))


def _first(tensor: Tensor) -> Tensor:
    return tensor


def _concatenate(*tensors: Tensor) -> Tensor:
    import torch

    return torch.cat(tensors)


def _made_shape(piece: Piece, source: Shapes) -> Shape | None:
    """Make the piece without data; None if its sources do not fit each other."""
    import torch

    try:
        made = piece.make(*(torch.empty(source[name], device="meta") for name in piece.sources))
    except (RuntimeError, IndexError):
        return None
    return tuple(made.shape)


def _keys_error(origin: str, display_name: str, missing: list[str], left_over: list[str]) -> PackageError:
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing: {', '.join(missing[:_SHOWN])}{_more(missing)}")
    if left_over:
        parts.append(f"{len(left_over)} tensors belong nowhere: {', '.join(left_over[:_SHOWN])}{_more(left_over)}")
    return _refused(origin, display_name, "; ".join(parts))


def _refused(origin: str, display_name: str, reason: str) -> PackageError:
    return PackageError(
        f"{origin} is not a checkpoint of {display_name}: {reason}.",
        hint="Choose the file that was published for this network, or the backbone that the file was made for.",
        code="backbone.keys",
    )


def _more(names: list[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
