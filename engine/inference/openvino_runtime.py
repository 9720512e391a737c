"""The backbone on the CPU through OpenVINO: optional, in float32, and only where it gives torch's numbers.

See docs/adr/0018. ``pip install .[openvino]`` adds it. Legend: N slices of a batch, M channel, D feature width.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.inference.array_cache import code_digest
from engine.inference.precision import difference
from engine.models import backbones
from engine.models.backbones.network import Backbone

MAX_DIFFERENCE = 1e-4
"""By how much, relative to its length, the test picture's feature may differ from torch's; 3e-6 was measured."""

KEPT_GRAPHS = 4
_GRAPH = "graph.xml"
_PACKAGES = ("openvino", "torch", "timm")


class GraphUnavailable(Exception):
    """OpenVINO cannot be used; the text says why. `installed` tells whether it is there at all."""

    def __init__(self, reason: str, *, installed: bool = True) -> None:
        super().__init__(reason)
        self.installed = installed


class Graph:
    """A compiled graph of one backbone, adapters included, for pictures of one size and any number of them."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.version = f"openvino {importlib.metadata.version('openvino')}"

    def __call__(self, pictures_NMHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``features_ND`` of float32 pictures (N, M, H, W) in 0..1."""
        outputs = self._request.infer([pictures_NMHW], share_inputs=True)
        return np.array(outputs[0], dtype=np.float32)


def is_installed() -> bool:
    """Return whether OpenVINO is there to be tried."""
    return importlib.util.find_spec("openvino") is not None


def open_graph(backbone: Backbone, picture_1MHW: Tensor, exact_1D: Tensor, folder: Path | None) -> Graph:
    """Convert a backbone, or read what was converted before, and check it against torch.

    Parameters
    ----------
    backbone
        On the CPU. What it holds now is converted, LoRA adapters included.
    picture_1MHW
        A picture of the size to convert for.
    exact_1D
        Its feature from torch in float32.
    folder
        Where converted graphs are kept, under the digest of weights and code; None keeps none.

    Raises
    ------
    GraphUnavailable
        If OpenVINO is not installed, cannot convert or run this network, or gives another feature.
    """
    if not is_installed():
        raise GraphUnavailable("it is not installed (pip install .[openvino])", installed=False)
    place = None if folder is None else folder / graph_key(backbone, tuple(picture_1MHW.shape[1:]))
    if place is not None and (place / _GRAPH).is_file():
        try:
            return _checked(_used_now(place), backbone, picture_1MHW, exact_1D)
        except GraphUnavailable:
            # Damaged, or made by a library that has changed under the same version.
            shutil.rmtree(place, ignore_errors=True)
    try:
        model = _converted(backbone, picture_1MHW)
    except Exception as error:
        raise _unusable(backbone, error) from error
    graph = _checked(model, backbone, picture_1MHW, exact_1D)
    if place is not None:
        _keep(model, place)
    return graph


def _checked(model: Any, backbone: Backbone, picture_1MHW: Tensor, exact_1D: Tensor) -> Graph:
    """Compile a graph and compare its feature of the picture with torch's."""
    try:
        graph = _compiled(model)
        found_1D = torch.from_numpy(graph(picture_1MHW.numpy()))
    except Exception as error:
        raise _unusable(backbone, error) from error
    apart = difference(found_1D, exact_1D)
    if apart > MAX_DIFFERENCE:
        raise GraphUnavailable(f"its feature of a test picture is {apart:.1e} away from torch's")
    return graph


def _unusable(backbone: Backbone, error: Exception) -> GraphUnavailable:
    # Each of OpenVINO's parts has errors of its own, some straight from Exception; all mean: not this network.
    return GraphUnavailable(f"it cannot run {backbone.spec.display_name} ({type(error).__name__})")


def _used_now(place: Path) -> Path:
    """Return the kept graph's file and mark it as used; a folder that can only be read keeps its order of writing."""
    with suppress(OSError):
        os.utime(place)
    return place / _GRAPH


def _compiled(model: Any) -> Graph:
    openvino = _openvino()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return Graph(openvino.Core().compile_model(model, "CPU", settings).create_infer_request())


def _openvino() -> Any:
    """Import OpenVINO without the package through which its converter reports its use over the network.

    A program that reads patients' scans reports to nobody. Without that package OpenVINO takes a silent stand-in of
    its own; we call its front end directly besides, which reports nothing.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return importlib.import_module("openvino")


def _converted(backbone: Backbone, picture_1MHW: Tensor) -> Any:
    openvino = _openvino()
    decoders = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with warnings.catch_warnings(), torch.no_grad():
        # torch is retiring traces, which are what OpenVINO reads best; the sizes that one fixes are the picture's.
        warnings.simplefilter("ignore")
        trace = torch.jit.trace(backbone, picture_1MHW, check_trace=False)  # type: ignore[no-untyped-call]
    front_end = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
    decoder = decoders.TorchScriptPythonDecoder(trace)
    # The front end does not keep the decoder alive: the name must last until the conversion has ended.
    model = front_end.convert(front_end.load(decoder))
    model.reshape({model.inputs[0]: openvino.PartialShape([-1, *picture_1MHW.shape[1:]])})
    return model


def _keep(model: Any, place: Path) -> None:
    """Write the graph beside its place and rename it, so that a half-written one is never read; the oldest leave."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".part-", dir=place.parent))
    except OSError:
        # The graph works all the same; it is converted again next time.
        return
    try:
        _openvino().save_model(model, partial / _GRAPH, compress_to_fp16=False)
        partial.rename(place)
    except (OSError, RuntimeError):
        return
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    kept = sorted((item for item in place.parent.iterdir() if (item / _GRAPH).is_file()), key=_age)
    for old in kept[:-KEPT_GRAPHS]:
        shutil.rmtree(old, ignore_errors=True)


def _age(place: Path) -> int:
    return place.stat().st_mtime_ns


def graph_key(backbone: Backbone, shape: tuple[int, ...]) -> str:
    """Return the sha256 of all that a graph depends on: every tensor's bytes, the code, the size of the pictures."""
    digest = hashlib.sha256(repr((shape, backbone.spec)).encode("utf-8"))
    for package in _PACKAGES:
        digest.update(f"{package} {importlib.metadata.version(package)}".encode("ascii"))
    digest.update(code_digest([backbones.__name__]).encode("ascii"))
    for name, tensor in backbone.state_dict().items():
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
