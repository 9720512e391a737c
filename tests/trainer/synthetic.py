"""A problem that the classifier can learn: each finding adds its own direction to a few slices of a study."""

from __future__ import annotations

import numpy as np

from trainer.datasets import StudyFeatures


def make_studies(
    n: int, seed: int, n_findings: int = 3, width: int = 32, strength: float = 4.0, prefix: str = "synthetic"
) -> tuple[StudyFeatures, ...]:
    """Draw studies of 6 to 12 slices; finding c, present in a third of them, lifts feature c in half of the slices."""
    random = np.random.default_rng(seed)
    studies = []
    for index in range(n):
        n_slices = int(random.integers(6, 13))
        features = random.normal(0, 1, (n_slices, width))
        labels = (random.random(n_findings) < 1 / 3).astype(np.int8)
        for finding in np.flatnonzero(labels):
            features[random.permutation(n_slices)[: n_slices // 2], finding] += strength
        studies.append(StudyFeatures(f"{prefix}-{seed}-{index}", features.astype(np.float16), labels))
    return tuple(studies)
