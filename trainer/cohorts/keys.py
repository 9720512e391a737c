"""Names that lead back to nobody who does not hold the data: hashes of patients, studies and series. No torch here.

They serve to keep a patient's studies on one side of a split and to know a study again; they are no encryption: who has
a list of all patient identifiers can find which of them are in a cohort.
"""

from __future__ import annotations

import hashlib

# Any text would do, but it must never change: the split is drawn once. With this one both demo studies may be trained
# on, so that retraining can be tried out with nothing else at hand.
FEEDBACK_SALT = "own-studies-2"
COHORT_SALT = "cohort-1"


def header_patient_key(patient_id: str, study_uid: str) -> str:
    """Return the key of a patient as DICOM headers name one; a study without an identifier is a patient of its own."""
    return _sha256(f"{FEEDBACK_SALT}|{patient_id or study_uid}")


def cohort_patient_key(namespace: str, patient: str) -> str:
    """Return the key of a patient as a cohort names one; the same in every import of that kind of cohort."""
    return _sha256(f"{COHORT_SALT}|patient|{namespace}|{patient}")


def cohort_study_key(namespace: str, name: str) -> str:
    """Return the key of a study as a cohort names it: short enough to read out, long enough never to repeat."""
    return _sha256(f"{COHORT_SALT}|study|{namespace}|{name}")[:24]


def series_key(series_uid: str) -> str:
    """Return the key of a series."""
    return _sha256(f"{COHORT_SALT}|series|{series_uid}")


def share(patient_key: str) -> float:
    """Return where a patient stands between 0 and 1: always the same, and evenly spread."""
    return int(_sha256(f"{COHORT_SALT}|split|{patient_key}")[:13], 16) / 2**52


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
