"""The plan of one head: pose, size, tissue values and what the painters ask for, before any voxel is made.

Head space is LPS millimetres of a reference head: +x to the patient's left, +y to the back, +z up, origin between the
thalami at the level of the third ventricle; the inner table is about 67 mm to the sides, 84 mm to front and back and
70 mm above the origin.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from engine.phantom.lattice import F32, Real
from engine.phantom.shapes import Point

if TYPE_CHECKING:
    from engine.phantom.tissue import Slab

Side = Literal[-1, 1]
Paint = Callable[["Slab"], Real]

SHIFT_LIMIT_MM = 5.0
SEPTUM: tuple[Point, ...] = ((0, -25, 10), (0, -10, 14), (0, 0, 4), (0, 10, 20))


@dataclass(frozen=True)
class Push:
    """Brain displaced sideways by a mass: at most `amount_mm` along x, fading over `reach_mm`."""

    centre: Point
    amount_mm: float
    reach_mm: float = 45.0

    def displacement_mm(self, x: F32, y: F32, z: F32) -> F32:
        """Return the displacement along x at points of head space."""
        _, cy, cz = self.centre
        squares = ((y - cy) / self.reach_mm) ** 2 + ((z - cz) / self.reach_mm) ** 2 + (x / 42.0) ** 2
        return np.asarray(self.amount_mm * np.exp(-0.5 * squares), dtype=np.float32)


@dataclass(frozen=True)
class Bulge:
    """Brain pushed away from a point by a mass of `radius_mm`, at most `amount_mm` at its border."""

    centre: Point
    radius_mm: float
    amount_mm: float


@dataclass(frozen=True)
class Effacement:
    """Sulci narrowed by `amount` (0..1) around a point, fading over `reach_mm`."""

    centre: Point
    reach_mm: float
    amount: float


@dataclass(frozen=True)
class Region:
    """Where a lesion lies, for the painters of what happens inside it."""

    centre: Point
    radii: Point


@dataclass(frozen=True)
class Metal:
    """A piece of metal in head space, from which streaks start; `strength_hu` is their size beside it."""

    centre: Point
    strength_hu: float


@dataclass(frozen=True)
class Layer:
    """One finding as it will be painted.

    Attributes
    ----------
    order
        Lower is painted first.
    solid
        Whether the paint replaces tissue, so that what lay there before is no longer in an earlier mask.
    """

    key: str
    order: int
    paint: Paint
    solid: bool


@dataclass
class Head:
    """A head being planned; painters change it through its methods before the voxels are made."""

    seed: int
    scale: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation_mm: NDArray[np.float64]
    taper: float
    skew_mm: float
    skull_mm: float
    scalp_mm: float
    ventricle: float
    ventricle_asymmetry: float
    third_ventricle_mm: float
    sulcus_mm: float
    gap_mm: float
    grey_hu: float
    white_hu: float
    csf_hu: float
    table_hu: float
    diploe_hu: float
    noise_hu: float
    pushes: list[Push] = field(default_factory=list)
    bulges: list[Bulge] = field(default_factory=list)
    effacements: list[Effacement] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    used_sides: list[Side] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    fourth: float = 1.0
    cistern_loss_mm: float = 0.0
    regions: dict[str, list[Region]] = field(default_factory=dict)
    metals: list[Metal] = field(default_factory=list)
    age: float = 0.5
    blood_hu: float = 53.0
    rest_hu: float | None = None
    background: list[Callable[[Slab], None]] = field(default_factory=list)

    def add(self, key: str, paint: Paint, *, order: int, solid: bool = True) -> None:
        """Take up the paint of one finding."""
        self.layers.append(Layer(key, order, paint, solid))

    def free_side(self, rng: np.random.Generator) -> Side:
        """Draw a side for a collection against the skull, the other one where a side is taken."""
        side = any_side(rng)
        if side in self.used_sides and -side not in self.used_sides:
            side = -1 if side == 1 else 1
        self.used_sides.append(side)
        return side

    def press(self, centre: Point, radius_mm: float, amount_mm: float) -> None:
        """Let a mass at `centre` displace the midline to the other side and narrow the sulci around itself."""
        away = -1.0 if centre[0] > 0 else 1.0
        self.pushes.append(Push(centre, away * amount_mm))
        self.bulges.append(Bulge(centre, radius_mm, min(0.5 * radius_mm, 6.0)))
        self.effacements.append(Effacement(centre, radius_mm + 22.0, min(0.95, 0.35 + amount_mm / 10)))

    def shifted_to(self) -> Side:
        """Return the side to which the midline is displaced."""
        return 1 if sum(push.amount_mm for push in self.pushes) > 0 else -1

    def midline_shift_mm(self) -> float:
        """Return the largest displacement of the septum and the third ventricle, without its sign."""
        x, y, z = np.array(SEPTUM, dtype=np.float32).T
        total = np.zeros_like(x)
        for push in self.pushes:
            total += push.displacement_mm(x, y, z)
        return float(np.abs(total).max())

    def effacement(self) -> float:
        """Return how much the most narrowed sulci have lost, 0..1."""
        return max((item.amount for item in self.effacements), default=0.0)

    def has(self, key: str) -> bool:
        """Whether a finding has been taken up already."""
        return any(layer.key == key for layer in self.layers)


def pick(rng: np.random.Generator, sites: tuple[Point, ...], wander_mm: float) -> Point:
    """Draw one of several places and wander from it by at most `wander_mm` along each axis."""
    x, y, z = (float(c + d) for c, d in zip(rng.choice(sites), rng.uniform(-wander_mm, wander_mm, 3), strict=True))
    return x, y, z


def any_side(rng: np.random.Generator) -> Side:
    """Draw a side: 1 the patient's left, -1 the right."""
    return 1 if rng.random() < 0.5 else -1


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream `name` of a study; streams are independent of each other and of their order of use."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())])))


def draw_head(seed: int, noise_hu: float | None) -> Head:
    """Draw a normal head from the seed; `noise_hu` None draws the noise too."""
    rng = stream(seed, "head")
    age = float(rng.beta(1.6, 2.0))
    drawn_noise = float(rng.uniform(3.0, 6.0))
    return Head(
        seed=seed,
        scale=rng.normal(1.0, 0.035, 3).clip(0.92, 1.08),
        rotation=rotation(rng.uniform(-5, 5, 3)),
        translation_mm=rng.uniform(-6, 6, 3),
        taper=float(rng.uniform(0.03, 0.10)),
        skew_mm=float(rng.normal(0, 1.2)),
        skull_mm=float(rng.uniform(5.5, 8.5)),
        scalp_mm=float(rng.uniform(4.0, 7.5)),
        ventricle=float(0.72 + 0.42 * age + rng.normal(0, 0.06)),
        ventricle_asymmetry=float(rng.normal(0, 0.09)),
        third_ventricle_mm=float(1.4 + 1.3 * age),
        sulcus_mm=float(0.7 + 1.1 * age + rng.normal(0, 0.1)),
        gap_mm=float(1.0 + 1.1 * age),
        grey_hu=float(rng.normal(38.0, 0.9)),
        white_hu=float(rng.normal(28.0, 0.9)),
        csf_hu=float(rng.uniform(5.0, 11.0)),
        table_hu=float(rng.uniform(1150, 1500)),
        diploe_hu=float(rng.uniform(420, 720)),
        noise_hu=drawn_noise if noise_hu is None else noise_hu,
        age=age,
    )


def rotation(degrees_xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix that turns about x, then y, then z by degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees_xyz)):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
