"""Check the system libraries that Qt and VTK load at run time, before anything is installed with pip.

Standard library only: it runs with the system's Python. As root on a Debian-like system it installs what is missing;
otherwise it prints the exact command and exits with 5. A virtual display is asked for with ``--virtual-display`` (tests
and pictures need one), and installed for root where there is no display at all. On Windows and macOS the wheels bring
all that they need.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE_OF_LIBRARY = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libOpenGL.so.0": "libopengl0",
    "libX11.so.6": "libx11-6",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libXrender.so.1": "libxrender1",
    "libXcursor.so.1": "libxcursor1",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libgomp.so.1": "libgomp1",
    "libexpat.so.1": "libexpat1",
}
PACKAGE_OF_PROGRAM = {"Xvfb": "xvfb", "xauth": "xauth"}
MESA_DRIVERS = "libgl1-mesa-dri"
FONTS = "fonts-dejavu-core"
ENVIRONMENT_ERROR = 5


def missing_packages(virtual_display: bool) -> list[str]:
    """Name the Debian packages that stand for what this system lacks."""
    missing = [package for library, package in PACKAGE_OF_LIBRARY.items() if not _loads(library)]
    if virtual_display:
        missing += [package for program, package in PACKAGE_OF_PROGRAM.items() if shutil.which(program) is None]
    if not any(Path("/usr/lib").glob("*/dri/*swrast_dri.so")) and not any(Path("/usr/lib").glob("*/libgallium-*.so")):
        missing.append(MESA_DRIVERS)
    if not any(Path("/usr/share/fonts").rglob("*.ttf")):
        missing.append(FONTS)
    if importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    return missing


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _install(packages: list[str]) -> int:
    print(f"Installing system libraries: {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages],
    ):
        if subprocess.run(command, env=environment, check=False, stdout=sys.stderr).returncode != 0:
            print(f"This command failed: {' '.join(command)}", file=sys.stderr)
            return ENVIRONMENT_ERROR
    return 0


def main() -> int:
    """Return 0 when everything is there, 5 when something has to be installed by hand."""
    if not sys.platform.startswith("linux"):
        return 0
    debian = shutil.which("apt-get") is not None
    installs = debian and os.geteuid() == 0
    no_display = not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY")
    packages = missing_packages("--virtual-display" in sys.argv[1:] or (installs and no_display))
    if not packages:
        return 0
    if installs:
        return _install(packages)
    command = f"sudo apt-get install {' '.join(packages)}"
    print(
        "Qt and VTK need system libraries that are not here. "
        + (f"Run:\n  {command}" if debian else f"Install what your system calls: {' '.join(packages)}")
        + "\nthen call make again.",
        file=sys.stderr,
    )
    return ENVIRONMENT_ERROR


if __name__ == "__main__":
    sys.exit(main())
