"""The VTK pipeline of the 3D view; the only module that imports VTK. `app.views.volume_window` loads it on demand."""

# ruff: noqa: E402 - the Qt binding must be named before the interactor is imported
from __future__ import annotations

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

SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "SWR")
MOVING_RATE_HZ, STILL_RATE_HZ = 20.0, 5.0


class VolumeScene:
    """One VTK pipeline in one widget; close it before its window closes."""

    def __init__(self, parent: QWidget) -> None:
        self.widget = QVTKRenderWindowInteractor(parent)
        self._renderer = vtkRenderer()
        self._renderer.SetBackground(0.043, 0.051, 0.059)
        self._window = self.widget.GetRenderWindow()
        self._window.AddRenderer(self._renderer)
        self._interactor = self._window.GetInteractor()
        self._interactor.SetInteractorStyle(vtkInteractorStyleTrackballCamera())
        self._mapper: vtkFixedPointVolumeRayCastMapper | vtkGPUVolumeRayCastMapper | None = None
        self._property = vtkVolumeProperty()
        self._property.ShadeOn()
        self._property.SetInterpolationTypeToLinear()
        self._property.SetAmbient(0.25)
        self._property.SetDiffuse(0.75)
        self._property.SetSpecular(0.15)
        self._volume = vtkVolume()
        self._volume.SetProperty(self._property)
        self._image: vtkImageData | None = None
        self._keep: object = None
        self._marker = vtkOrientationMarkerWidget()

    def start(self) -> None:
        """Begin to answer the mouse; choose the mapper that the display can drive."""
        if self._mapper is not None:
            return
        self.widget.Initialize()
        software = any(name in self._window.ReportCapabilities() for name in SOFTWARE_RENDERERS)
        self._mapper = vtkFixedPointVolumeRayCastMapper() if software else vtkGPUVolumeRayCastMapper()
        self._mapper.SetAutoAdjustSampleDistances(True)
        # Without a GPU a full-quality still frame takes seconds on the GUI thread: trade sharpness for answers.
        self._interactor.SetDesiredUpdateRate(MOVING_RATE_HZ)
        self._interactor.SetStillUpdateRate(STILL_RATE_HZ if software else 0.01)
        self._volume.SetMapper(self._mapper)
        self._marker.SetOrientationMarker(orientation_cube())
        self._marker.SetInteractor(self._interactor)
        self._marker.SetViewport(0.0, 0.0, 0.16, 0.18)
        self._marker.SetEnabled(True)
        self._marker.InteractiveOff()

    def show(self, grid: RegularGrid, look: Look) -> None:
        """Render a grid with a look."""
        image, self._keep = as_image_data(grid)
        if self._mapper is None:
            return
        self._mapper.SetInputData(image)
        self._image = image
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
        self._window.Render()

    def look_from_front(self) -> None:
        """Face the patient, head up; the patient's right is on the left of the screen."""
        if self._image is None:
            return
        x, y, z = self._image.GetCenter()
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(x, y, z)
        camera.SetPosition(x, y - 500, z + 60)
        camera.SetViewUp(0, 0, 1)
        self._renderer.ResetCamera()
        camera.Zoom(1.5)
        self._window.Render()

    def close(self) -> None:
        """Release the OpenGL resources and break VTK's cycles with the widget."""
        self._marker.SetEnabled(False)
        self._marker.SetInteractor(None)
        self._interactor.RemoveObservers(vtkCommand.CreateTimerEvent)
        self._interactor.RemoveObservers(vtkCommand.DestroyTimerEvent)
        self._window.RemoveObservers(vtkCommand.CursorChangedEvent)
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
