"""The options of every command that runs a model: on what, in which precision, through which runtime."""

from __future__ import annotations

import argparse

from app.commands.base import Environment
from engine.inference.compute import CPU_RUNTIMES, DEVICES, PRECISIONS, Computing, DeviceChoice


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Declare the options; what is not given is as in the settings."""
    parser.add_argument("--device", choices=DEVICES, help="default: as in the settings, else auto")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the backbone; default: as in the settings")
    parser.add_argument(
        "--cpu-runtime",
        choices=CPU_RUNTIMES,
        help="what runs the backbone on a CPU in float32; default: as in the settings, else OpenVINO if it is there",
    )


def chosen_device(arguments: argparse.Namespace, environment: Environment) -> DeviceChoice:
    """Return the device to compute on."""
    device: DeviceChoice = arguments.device or environment.settings.device
    return device


def chosen_computing(arguments: argparse.Namespace, environment: Environment) -> Computing:
    """Return how the backbone is to be computed."""
    from app.settings import computing

    return computing(environment.paths, environment.settings, arguments.precision, arguments.cpu_runtime)
