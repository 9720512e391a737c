"""From the coarse anatomy to Hounsfield units on thin planes: one slab of voxels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from engine.phantom.anatomy import FACE_TOP_MM, Anatomy
from engine.phantom.head import Head
from engine.phantom.lattice import F32, Real, Taps
from engine.phantom.shapes import Point, coverage, ellipsoid, tube, unit

AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU = -1000.0, -95.0, 52.0, 25.0
CORTEX_MM = 3.2


class Slab:
    """The voxels of some thin planes: head coordinates, tissue weights and the Hounsfield units being painted.

    Attributes
    ----------
    x, y, z
        Head space in millimetres, float32 [plane, row, column].
    hu
        Hounsfield units, float32 [plane, row, column]; painters change it through `blend` and `add`.
    brain, csf, bone, scalp, ventricles
        How much of each voxel is that tissue, 0..1, before any painting.
    """

    def __init__(self, anatomy: Anatomy, planes: Taps, points: tuple[F32, F32, F32]) -> None:
        self.anatomy = anatomy
        self.head: Head = anatomy.head
        self.x, self.y, self.z = points
        self.z_range = float(self.z.min()), float(self.z.max())
        self._planes = planes
        self._cache: dict[str, F32] = {}
        self.hu: F32 = np.full(self.x.shape, AIR_HU, dtype=np.float32)
        self._compose()

    def field(self, name: str) -> F32:
        """Return a field of the anatomy at the voxels."""
        if name not in self._cache:
            self._cache[name] = self.anatomy.fine(name, self._planes)
        return self._cache[name]

    def nothing(self) -> F32:
        """Return an empty mask."""
        return np.zeros_like(self.hu)

    def blend(self, hu: float | Real, weight: Real) -> None:
        """Replace tissue by `hu` where `weight` is 1, and in part where it is less."""
        self.hu += (hu - self.hu) * weight

    def add(self, hu: float | Real, weight: Real) -> None:
        """Add `hu` to the tissue in proportion to `weight`."""
        self.hu += hu * weight

    def misses(self, centre: Point, reach_mm: float) -> bool:
        """Whether the slab lies wholly above or below what is within `reach_mm` of a point."""
        return self.z_range[0] > centre[2] + reach_mm or self.z_range[1] < centre[2] - reach_mm

    def blob(self, centre: Point, radii: Point, *, irregular_mm: float = 0.0, edge_mm: float = 1.2) -> F32:
        """Return the coverage by an ellipsoid whose border wanders by `irregular_mm`."""
        out = self.nothing()
        if self.misses(centre, max(radii) + 3 * irregular_mm + edge_mm):
            return out
        # An elongated ellipsoid's distance grows slowly along its long axis: its border wanders further there.
        slow = max(radii) / (radii[0] * radii[1] * radii[2]) ** (1 / 3)
        box = self.box(centre, max(radii) + (6 * irregular_mm + edge_mm) * slow)
        distance = ellipsoid(self.x[box], self.y[box], self.z[box], centre, radii)
        if irregular_mm:
            distance += self.field("cloud")[box] * np.float32(irregular_mm)
            distance += self.field("rough")[box] * np.float32(0.35 * irregular_mm)
        out[box] = coverage(distance, edge_mm)
        return out

    def tube_mm(self, nodes: Sequence[tuple[Point, float]], reach_mm: float = 4.0) -> F32:
        """Return the distance to a chain of round cones, right up to `reach_mm` from it and large elsewhere."""
        out = np.full_like(self.hu, 1e3)
        points = np.array([point for point, _ in nodes])
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        far = float(np.linalg.norm(points - middle, axis=1).max()) + max(radius for _, radius in nodes) + reach_mm
        centre = (float(middle[0]), float(middle[1]), float(middle[2]))
        if not self.misses(centre, far):
            box = self.box(centre, far)
            out[box] = tube(self.x[box], self.y[box], self.z[box], nodes)
        return out

    def box(self, centre: Point, reach_mm: float) -> tuple[slice, slice, slice]:
        """Return the rows and columns, in every plane, that hold all within `reach_mm` of a point, or more."""
        rows = self._rows_mm
        columns = self._columns_mm
        down = np.flatnonzero((rows[0] <= centre[1] + reach_mm) & (rows[1] >= centre[1] - reach_mm))
        along = np.flatnonzero((columns[0] <= centre[0] + reach_mm) & (columns[1] >= centre[0] - reach_mm))
        if not (len(down) and len(along)):
            return slice(None), slice(0, 0), slice(0, 0)
        return slice(None), slice(int(down[0]), int(down[-1]) + 1), slice(int(along[0]), int(along[-1]) + 1)

    @cached_property
    def _rows_mm(self) -> tuple[F32, F32]:
        """Lowest and highest y of every row."""
        return self.y.min(axis=(0, 2)), self.y.max(axis=(0, 2))

    @cached_property
    def _columns_mm(self) -> tuple[F32, F32]:
        """Lowest and highest x of every column."""
        return self.x.min(axis=(0, 1)), self.x.max(axis=(0, 1))

    @cached_property
    def depth(self) -> F32:
        """Depth below the inner table or above the skull's floor, positive inside the cavity, in millimetres."""
        return np.minimum(self.field("table"), self.field("floor"))

    @cached_property
    def supratentorial(self) -> F32:
        """How much of a voxel is above the tentorium or in front of the petrous ridge, 0..1."""
        below = np.minimum(-self.field("tentorium"), self.field("behind"))
        return coverage(below, 1.5)

    @cached_property
    def fold_mm(self) -> F32:
        """Distance to the middle of the nearest sulcus; large below the tentorium."""
        fold = np.abs(self.field("sulcus")) / self.field("sulcus_slope") + 12 * (1 - self.supratentorial)
        return np.asarray(fold, dtype=np.float32)

    @cached_property
    def ventricle_distance(self) -> F32:
        """Distance to the nearest ventricle, negative inside."""
        return np.minimum(np.minimum(self.field("lateral"), self.field("third")), self.field("fourth"))

    def _compose(self) -> None:
        self._outside()
        self.bone = self.nothing()
        if self.z_range[0] < FACE_TOP_MM:
            self._face()
        self._bone()
        if self.z_range[0] < FACE_TOP_MM:
            self._air_spaces()
        self._brain()
        self._partitions()
        for paint in self.head.background:
            paint(self)

    def _outside(self) -> None:
        skin, rough = self.field("skin"), self.field("rough")
        inside = coverage(skin, 1.0)
        self.blend(FAT_HU, inside)
        self.blend(SKIN_HU, inside * coverage(-(skin + 2.0), 1.2))
        # Galea and temporal muscle lie on the skull; the muscle thickens at the temples.
        outer = -self.field("table") - np.float32(self.head.skull_mm)
        temple = np.exp(-(((self.z + 12) / 22) ** 2) - ((self.y + 22) / 26) ** 2)
        self.scalp = inside * coverage(-outer, 1.0)
        self.blend(MUSCLE_HU + 4 * rough, inside * coverage(outer - (1.4 + 6 * temple), 1.5))

    def _face(self) -> None:
        """Muscle with planes of fat, orbits with globes."""
        cloud, rough = self.field("cloud"), self.field("rough")
        below = coverage(self.field("floor") + 1, 1.5) * coverage(self.field("skin") + 5, 2.0)
        coarse, fine = (0.7, 0.75) if "fine muscle" in self.head.flags else (1.0, 0.25)
        muscle = coverage(0.4 - np.abs(coarse * cloud + fine * rough) * 2.6, 0.7)
        self.blend(FAT_HU + (MUSCLE_HU - FAT_HU) * muscle, below)
        orbit = self.field("orbit")
        wall = below * coverage(np.abs(orbit - 1.2) - 1.2, 1.0)
        self.bone = np.maximum(self.bone, wall * coverage(-(self.y + 86), 3.0))
        self.blend(FAT_HU, below * coverage(orbit))
        globe = self.field("globe")
        self.blend(45.0, below * coverage(globe))
        self.blend(8.0, below * coverage(globe + 2.2))

    def _bone(self) -> None:
        """The vault with its diploe, the floor and the petrous bones."""
        head, rough = self.head, self.field("rough")
        table, floor = self.field("table"), self.field("floor")
        thick = head.skull_mm * (1 + 0.12 * self.field("cloud"))
        vault = coverage(table, 1.0) * coverage(-table - thick, 1.0) * coverage(-(floor + 7), 1.5)
        depth = -table / thick
        diploe = vault * coverage((np.abs(depth - 0.52) - 0.27) * head.skull_mm, 1.2)
        petrous = self.field("petrous")
        under = coverage(floor, 1.0) * coverage(-(floor + 3.0 + 18 * petrous), 1.5)
        base = under * coverage(-(table + head.skull_mm), 1.5)
        base *= np.clip(1.15 + 0.5 * rough * (1 - petrous), 0, 1)
        self.bone = np.maximum(np.maximum(vault, base), self.bone)
        self.blend(head.table_hu - 250 * np.clip(base - vault, 0, 1) + 60 * rough, self.bone)
        self.blend(head.diploe_hu + 130 * rough, diploe * 0.85)

    def _air_spaces(self) -> None:
        rough, inside = self.field("rough"), coverage(self.field("skin") + 3, 1.0) * coverage(self.depth, 1.0)
        for name in ("sinus", "maxillary"):
            distance = self.field(name)
            wall = inside * coverage(np.abs(distance - 0.8) - 0.9, 0.9)
            self.blend(700.0, wall)
            self.bone = np.maximum(self.bone, wall)
            self.blend(AIR_HU, inside * coverage(distance))
        cells = inside * coverage(self.field("mastoid"), 2.0) * coverage(-rough * 2 + 0.4, 1.0)
        self.blend(AIR_HU + 120, cells)
        self.blend(AIR_HU, coverage(self.field("canal"), 1.0) * coverage(self.depth, 1.0))

    def _brain(self) -> None:
        head = self.head
        cavity = coverage(-self.depth, 1.0)
        self.cavity = cavity
        pia, border = self._pia_mm()
        ventricle = coverage(self.ventricle_distance, 1.0)
        self.ventricles = cavity * ventricle
        parenchyma = coverage(-pia, 1.0)
        self.brain = cavity * parenchyma * (1 - ventricle)
        self.csf = cavity * (1 - parenchyma * (1 - ventricle))
        grey = coverage(border - CORTEX_MM, 2.0)
        grey = np.maximum(grey, coverage(self.field("deep"), 2.0))
        infra = 1 - self.supratentorial
        grey = np.maximum(grey * (1 - infra), infra * self._cerebellar_grey())
        brain_hu = head.white_hu + (head.grey_hu - head.white_hu) * grey + 0.5 * self.field("cloud")
        self.grey = grey
        self.blend(head.csf_hu + (brain_hu - head.csf_hu) * parenchyma * (1 - ventricle), cavity)

    def _pia_mm(self) -> tuple[F32, F32]:
        """Distance below the surface of the brain (positive in parenchyma), and below grey matter's outer border.

        The two differ in effaced sulci, whose walls touch: no water, but a ribbon of grey matter on both sides.
        """
        surface = self.depth - self.head.gap_mm * (1 + 0.35 * self.field("cloud"))
        surface = np.minimum(np.minimum(surface, self.field("cistern")), self._fissure_mm())
        fold = self.fold_mm
        width = self.field("sulcus_width")
        water = fold - width + 400 * unit(0.12 - width)
        ribbon = fold + np.maximum(self.field("table") - self.field("gyral_reach"), 0)
        stem = self._stem_mm()
        pia = np.maximum(np.minimum(surface, water), stem)
        border = np.maximum(np.minimum(np.minimum(surface, ribbon), water), stem)
        return np.asarray(pia, dtype=np.float32), np.asarray(border, dtype=np.float32)

    def _stem_mm(self) -> F32:
        if self.z_range[0] > 2:
            return np.full_like(self.hu, -1e3)
        return np.negative(self.field("stem"))

    def _fissure_mm(self) -> F32:
        """Distance to the interhemispheric fissure, which spares the corpus callosum and what lies below it."""
        opening = (0.4 + 0.3 * self.head.gap_mm) * (1 + 0.4 * self.field("cloud"))
        callosum = ellipsoid(self.x, self.y, self.z, (0, -2, 0), (60, 40, 27))
        posterior = 6 - self.field("tentorium")
        bar = np.maximum(np.maximum(-callosum, posterior), 0) * 3
        return np.asarray(
            np.abs(self.x - 0.6 * self.field("shift") + 0.6 * self.field("rough")) - opening + bar, dtype=np.float32
        )

    def _cerebellar_grey(self) -> F32:
        folia = np.cos(self.field("tentorium") * np.float32(2 * np.pi / 5.5) + self.field("cloud") * 2)
        return unit(0.62 + 0.22 * folia - 0.5 * coverage(self.field("stem"), 2.0))

    def _partitions(self) -> None:
        """Falx, tentorium and the dural sinuses."""
        inside = self.cavity
        fissure = ellipsoid(self.x, self.y, self.z, (0, 0, 4), (80, 47, 33))
        across = np.abs(self.x - 0.35 * self.field("shift"))
        tent = self.field("tentorium")
        falx = coverage(across - 0.55, 1.0) * coverage(-fissure, 3.0) * coverage(-tent, 1.0)
        self.falx = falx * inside * coverage(12 - self.z - 60 * (self.y < 30), 3.0)
        self.blend(50.0, self.falx * 0.9)
        leaf = coverage(np.abs(tent) - 0.6, 1.0) * coverage(-self.field("behind"), 1.0)
        leaf *= coverage(-(self.field("stem") - 4), 2.0) * inside
        self.tentorium = leaf
        self.blend(46.0, leaf * 0.7)
        sinus_mm = np.hypot(across, np.maximum(self.depth - 1, 0) * 0.8) - 3.6
        behind = np.maximum(20 - self.z - np.maximum(self.y, 0), 0)
        transverse = np.maximum(np.abs(tent + 1) - 4, self.depth - 6) + 30 * (self.y < 38)
        self.sinus_mm = np.minimum(sinus_mm + behind, transverse)
        self.sinus = coverage(self.sinus_mm, 1.0) * inside
        self.blend(self.head.blood_hu, self.sinus)
