"""Time the phantom on one core: a prepared study of about 40 slices, painted, acquired and prepared.

Subject: `generate` on varied heads and scanners, then `engine.preprocess.prepare`. Baseline, in the same run: the plain
phantom of the same seeds. Target: 3 s for a prepared study of 40 slices in the middle of the seeds, on one core. Exit
status 1 when it is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec

TARGET_S = 3.0
PREPARED_SLICES = 40
SPECS = {"varied": PhantomSpec(anatomy="varied", scanner="varied"), "plain": PhantomSpec()}


def seconds(seed: int, spec: PhantomSpec) -> tuple[float, float, int]:
    """Return the seconds to make and to prepare one study, in processor time, and its prepared slices."""
    start = time.process_time()
    study = generate(seed, spec)
    made = time.process_time()
    prepared = prepare(study.volume, PreprocessSpec())
    return made - start, time.process_time() - made, len(prepared.voxels_hu)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=8)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    print(f"{platform.platform()}, {platform.machine()}, one core, processor time, CPU only")
    middle = {}
    for name, spec in SPECS.items():
        rows = [seconds(seed, spec) for seed in range(arguments.studies)]
        whole = [(make + ready) * PREPARED_SLICES / slices for make, ready, slices in rows]
        middle[name] = statistics.median(whole)
        made, ready = (statistics.median(row[part] for row in rows) for part in (0, 1))
        print(
            f"{name:7s} made {made:5.2f} s  prepared {ready:5.2f} s  by {PREPARED_SLICES} slices: median "
            f"{middle[name]:5.2f} s, slowest {max(whole):5.2f} s"
        )
    print(f"ratio varied / plain {middle['varied'] / middle['plain']:.2f}")
    met = middle["varied"] <= TARGET_S
    print(f"target: at most {TARGET_S:.1f} s: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
