"""How cards and metrics speak of a cohort: what its studies are, and what a model that learnt from them may claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.cohorts.manifest import CohortManifest
from trainer.config import PhantomCohortConfig, Split


@dataclass(frozen=True)
class CohortWords:
    """Phrases.

    Attributes
    ----------
    short, studies, heldout
        What they are called in a sentence, in full, and those of the test split.
    trained_on
        For the manifest of the package.
    reference
        What the reference cohort's features are of.
    data, use, limit
        The card's paragraphs on data and intended use, and its first limit.
    """

    short: str
    studies: str
    heldout: str
    trained_on: str
    reference: str
    data: str
    use: str
    limit: str


def phantom_words(cohort: PhantomCohortConfig) -> CohortWords:
    """Speak of phantoms that were made for the run."""
    return CohortWords(
        short="phantoms",
        studies="synthetic phantoms",
        heldout="synthetic phantoms of seeds that no other split has",
        trained_on=f"{cohort.n_train} synthetic phantoms",
        reference="Backbone features of synthetic phantoms, for demonstration only; no data of any person.",
        data=f"""\
Only computer-generated phantoms: simple head shapes with painted findings and simulated noise. No scan of a person
took part in training, validation, calibration or testing. {cohort.n_train} studies to train, {cohort.n_validate} to
choose the epoch, {cohort.n_calibrate} to calibrate, {cohort.n_test} to test; every study has a seed of its own and no
seed is in two sets (cohort seed {cohort.seed}).""",
        use="To show how the program works, from opening a study to retraining, with a model that was really trained. "
        "Nothing else.",
        limit="""\
A phantom is far simpler than a head. **Expect the output on a real scan to be meaningless**, however good the table
  looks.""",
    )


def imported_words(manifest: CohortManifest, title: str, used: Mapping[Split, int], n_set_aside: int) -> CohortWords:
    """Speak of a cohort that was imported.

    Parameters
    ----------
    title
        The importer's.
    used
        Split to number of studies whose features could be computed.
    n_set_aside
        Studies of the manifest that could not be read or prepared.
    """
    which = f"{title}, manifest {manifest.digest[:12]}"
    aside = f" {n_set_aside} studies of the manifest could not be used." if n_set_aside else ""
    return CohortWords(
        short="studies",
        studies=f"studies of the imported cohort ({which})",
        heldout=f"studies of patients that no other split has ({which})",
        trained_on=f"{used['train']} studies of an imported cohort ({which})",
        reference=f"Backbone features of studies of an imported cohort ({which}), computed from their images: keep "
        "them where the cohort itself may be kept.",
        data=f"""\
Studies of an imported cohort: {which}. {used["train"]} to train, {used["validate"]} to choose the epoch,
{used["calibrate"]} to calibrate, {used["test"]} to test; the split is by patient and was drawn once.{aside} A finding
that the cohort does not label is unknown there, not absent.""",
        use="Research on this method with this cohort. Nothing else.",
        limit="""\
What the table says holds for patients, scanners and labels like those of this cohort, and for no others.
  Findings without both a positive and a negative study to train on are not predicted.""",
    )
