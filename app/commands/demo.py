"""demo: the window on the demo studies, analysed; without a display the same study headless, with pictures."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from app.commands.base import Environment, say

NAME = "demo"
SUMMARY = "open the window on the demo studies, analysed (without a display: results and pictures in out/demo/)"
ORDER = 5
SCREEN = "-screen 0 1920x1080x24"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="DIR", help="where results go without a display"
    )
    parser.add_argument("--headless", action="store_true", help="do as if there were no display")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Open the window, or do its work without one."""
    from app.display import display_problem

    problem = "--headless was asked for" if arguments.headless else display_problem()
    if not problem:
        window = argparse.Namespace(paths=[], quit_after_start=False, demo=True)
        return environment.programs.window(environment, window)
    say(f"There is no display ({problem}): the demo studies are analysed without a window.")
    results = analyse_demo(environment, arguments.out)
    pictures = take_pictures(arguments.out)
    print("\n".join(str(path) for path in (*results, *pictures)))
    return 0 if pictures else 5


def analyse_demo(environment: Environment, out: Path) -> list[Path]:
    """Classify every demo study; the first one's result is ``results.json``."""
    from app.commands.infer import load_input, model_line, model_path
    from app.operations.files import require_folder
    from app.operations.run_inference import run_inference
    from app.settings import computing
    from engine.export.analysis_json import write_analysis_json

    require_folder(out)
    package = model_path(environment, None)
    written = []
    for number, folder in enumerate(sorted(path for path in environment.paths.demo.iterdir() if path.is_dir())):
        loaded = load_input(folder, None, analysable=True)
        analysis = run_inference(
            loaded,
            package,
            environment.catalogue,
            environment.settings.device,
            how=computing(environment.paths, environment.settings),
        )
        path = out / ("results.json" if number == 0 else f"results_{folder.name}.json")
        write_analysis_json(analysis, path)
        positive = [finding.label for finding in analysis.findings if finding.positive]
        say(f"{folder.name}: {', '.join(positive) or 'no finding'} at or above the operating point ({path})")
        say(model_line(analysis))
        written.append(path)
    return written


def take_pictures(out: Path) -> list[Path]:
    """Take pictures of every screen in a process of their own: under xvfb-run if it is there, else off screen."""
    arguments = [sys.executable, str(Path(__file__).resolve().parents[2] / "main.py")]
    arguments += ["shots", "--out", str(out)]
    xvfb = shutil.which("xvfb-run")
    variables = {key: value for key, value in os.environ.items() if key != "WAYLAND_DISPLAY"}
    if xvfb is not None:
        command = [xvfb, "-a", "-s", SCREEN, *arguments]
        variables["QT_QPA_PLATFORM"] = "xcb"
    else:
        command = arguments
        variables["QT_QPA_PLATFORM"] = "offscreen"
    finished = subprocess.run(command, env=variables, check=False, stdout=subprocess.DEVNULL)
    pictures = sorted(out.glob("*.png"))
    if finished.returncode != 0 or not pictures:
        say(f"error [demo.pictures]: no pictures were taken (exit code {finished.returncode}); see above.")
        return []
    return pictures
