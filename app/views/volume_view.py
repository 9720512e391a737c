"""The VTK pipeline of the 3D view; the only module that imports VTK. `app.views.volume_window` loads it on demand."""

# ruff: noqa: E402 - the Qt binding must be named before the interactor is imported
from __future__ import annotations

import numpy as np
import vtkmodules.qt
from PySide6.QtWidgets import QWidget

from app.views.volume_grid import RegularGrid
from app.views.volume_looks import Look

vtkmodules.qt.PyQtImpl = "PySide6"

import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2
import vtkmodules.vtkRenderingVolumeOpenGL2
from vtkmodules.qt.QVTKRenderWindowInteractor import QVTKRenderWindowInteractor
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkCommand
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPiecewiseFunction
from vtkmodules.vtkInteractionStyle import vtkInteractorStyleTrackballCamera
from vtkmodules.vtkInteractionWidgets import vtkOrientationMarkerWidget
from vtkmodules.vtkRenderingAnnotation import vtkAnnotatedCubeActor
from vtkmodules.vtkRenderingCore import vtkColorTransferFunction, vtkRenderer, vtkVolume, vtkVolumeProperty
from vtkmodules.vtkRenderingVolume import vtkFixedPointVolumeRayCastMapper, vtkGPUVolumeRayCastMapper

MOVING_RATE_HZ, STILL_RATE_HZ, FULL_QUALITY_HZ = 20.0, 5.0, 0.01
ZOOM = 1.5

Mapper = vtkFixedPointVolumeRayCastMapper | vtkGPUVolumeRayCastMapper


class VolumeScene:
    """One VTK pipeline in one widget; close it before its window closes.

    Parameters
    ----------
    software
        Whether OpenGL runs on the processor. VTK's own ray caster is then several times faster than its shaders, and
        even a still picture is drawn in `1 / STILL_RATE_HZ` seconds: it blocks the GUI thread.
    """

    def __init__(self, parent: QWidget, software: bool) -> None:
        self.widget = QVTKRenderWindowInteractor(parent)
        self._renderer = vtkRenderer()
        self._renderer.SetBackground(0.043, 0.051, 0.059)
        self._window = self.widget.GetRenderWindow()
        self._window.AddRenderer(self._renderer)
        self._interactor = self._window.GetInteractor()
        self._interactor.SetInteractorStyle(vtkInteractorStyleTrackballCamera())
        self._software = software
        self._started = False
        self._mappers: dict[int, tuple[RegularGrid, Mapper, object]] = {}
        self._property = vtkVolumeProperty()
        self._property.ShadeOn()
        self._property.SetInterpolationTypeToLinear()
        self._property.SetAmbient(0.25)
        self._property.SetDiffuse(0.75)
        self._property.SetSpecular(0.15)
        self._volume = vtkVolume()
        self._volume.SetProperty(self._property)
        self._marker = vtkOrientationMarkerWidget()

    def start(self) -> None:
        """Begin to answer the mouse."""
        if self._started:
            return
        self._started = True
        self.widget.Initialize()
        still_hz = STILL_RATE_HZ if self._software else FULL_QUALITY_HZ
        self._interactor.SetDesiredUpdateRate(MOVING_RATE_HZ)
        self._interactor.SetStillUpdateRate(still_hz)
        self._window.SetDesiredUpdateRate(still_hz)  # else every frame before the first drag has full quality
        self._marker.SetOrientationMarker(orientation_cube())
        self._marker.SetInteractor(self._interactor)
        self._marker.SetViewport(0.0, 0.0, 0.16, 0.18)
        self._marker.SetEnabled(True)
        self._marker.InteractiveOff()

    def show(self, grid: RegularGrid, look: Look) -> None:
        """Render a grid with a look; `start` must have been called."""
        self._volume.SetMapper(self._mapper_of(grid))
        opacity, color = vtkPiecewiseFunction(), vtkColorTransferFunction()
        for value, alpha in look.opacity:
            opacity.AddPoint(value, alpha)
        for value, red, green, blue in look.color:
            color.AddRGBPoint(value, red, green, blue)
        self._property.SetScalarOpacity(opacity)
        self._property.SetColor(color)
        self._property.SetScalarOpacityUnitDistance(grid.spacing_mm)
        if not self._renderer.HasViewProp(self._volume):
            self._renderer.AddVolume(self._volume)
        self.render()

    def _mapper_of(self, grid: RegularGrid) -> Mapper:
        """Return the mapper that holds a grid: its gradients are computed once, not at each change of the look."""
        if id(grid) not in self._mappers:
            mapper = vtkFixedPointVolumeRayCastMapper() if self._software else vtkGPUVolumeRayCastMapper()
            mapper.SetAutoAdjustSampleDistances(True)
            image, kept = as_image_data(grid)
            mapper.SetInputData(image)
            self._mappers[id(grid)] = grid, mapper, kept
        return self._mappers[id(grid)][1]

    def forget(self) -> None:
        """Let go of the grids shown so far."""
        self._renderer.RemoveVolume(self._volume)
        self._volume.SetMapper(None)
        self._mappers.clear()

    def render(self) -> None:
        """Draw a frame at the quality of a still picture."""
        self._window.Render()

    def look_from_front(self, grid: RegularGrid) -> None:
        """Face the patient, head up; the patient's right is on the left of the screen. The next frame shows it."""
        low = np.array(grid.origin_lps_mm)
        high = low + (np.array(grid.voxels.shape[::-1]) - 1) * grid.spacing_mm
        x, y, z = (low + high) / 2
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(x, y, z)
        camera.SetPosition(x, y - 500, z + 60)
        camera.SetViewUp(0, 0, 1)
        self._renderer.ResetCamera(*np.stack([low, high], axis=1).ravel())
        camera.Zoom(ZOOM)

    def close(self) -> None:
        """Release the OpenGL resources and break VTK's cycles with the widget."""
        self._marker.SetEnabled(False)
        self._marker.SetInteractor(None)
        self._interactor.RemoveObservers(vtkCommand.CreateTimerEvent)
        self._interactor.RemoveObservers(vtkCommand.DestroyTimerEvent)
        self._window.RemoveObservers(vtkCommand.CursorChangedEvent)
        self.forget()
        self._renderer.RemoveAllViewProps()
        self._window.RemoveRenderer(self._renderer)
        self.widget.Finalize()
        self.widget.close()
        self.widget.setParent(None)
        self.widget.deleteLater()


def as_image_data(grid: RegularGrid) -> tuple[vtkImageData, object]:
    """Return VTK's view of a grid, without a copy, and the array that must outlive it."""
    depth, height, width = grid.voxels.shape
    image = vtkImageData()
    image.SetDimensions(width, height, depth)
    image.SetOrigin(*grid.origin_lps_mm)
    image.SetSpacing(grid.spacing_mm, grid.spacing_mm, grid.spacing_mm)
    scalars = numpy_to_vtk(grid.voxels.ravel(), deep=False)
    image.GetPointData().SetScalars(scalars)
    return image, (grid.voxels, scalars)


def orientation_cube() -> vtkAnnotatedCubeActor:
    """Return a cube whose faces name the patient's directions; the world is LPS."""
    cube = vtkAnnotatedCubeActor()
    cube.SetXPlusFaceText("L")
    cube.SetXMinusFaceText("R")
    cube.SetYPlusFaceText("P")
    cube.SetYMinusFaceText("A")
    cube.SetZPlusFaceText("H")
    cube.SetZMinusFaceText("F")
    cube.SetFaceTextScale(0.6)
    cube.GetCubeProperty().SetColor(0.2, 0.25, 0.3)
    cube.GetTextEdgesProperty().SetColor(0.94, 0.77, 0.25)
    return cube
