"""A parent that starts a worker, says its process id, waits to be told, and never says goodbye."""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path


def main() -> None:
    from engine.inference.messages import WorkerSettings
    from engine.inference.worker import serve

    context = multiprocessing.get_context("spawn")
    ours, theirs = multiprocessing.Pipe()
    settings = WorkerSettings(catalogue_file=sys.argv[1], device="cpu", threads=1)
    worker = context.Process(target=serve, args=(theirs, settings))
    worker.start()
    theirs.close()
    if sys.argv[2] == "started":
        ours.recv()
    print(worker.pid, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
