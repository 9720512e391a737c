"""The five kinds of bleeding that public cohorts label, on the catalogue's finer ones."""

from __future__ import annotations

from trainer.cohorts.importers.base import LabelRule

PARENCHYMAL = (
    "basal_ganglia_hemorrhage",
    "thalamic_hemorrhage",
    "lobar_hemorrhage",
    "cerebellar_hemorrhage",
    "brainstem_hemorrhage",
)
SUBDURAL = ("acute_subdural_hematoma", "chronic_subdural_hematoma")
FRACTURES = ("calvarial_fracture", "skull_base_fracture", "mastoid_fracture")
_EXACT = "The same finding."


def bleed_rules(
    parenchymal: str, ventricular: str, subarachnoid: str, subdural: str, epidural: str
) -> tuple[LabelRule, ...]:
    """Return the rules for the five kinds, under a cohort's own names for them.

    Contusion, petechial bleeding and the transformation of an infarct are never ruled out: a reader who looks for
    bleeding may call them something else, or nothing.
    """
    return (
        LabelRule(
            parenchymal,
            (),
            PARENCHYMAL,
            "Where in the tissue it bleeds is not said: present leaves all unknown, absent rules all out.",
        ),
        LabelRule(ventricular, ("intraventricular_hemorrhage",), ("intraventricular_hemorrhage",), _EXACT),
        LabelRule(subarachnoid, ("subarachnoid_hemorrhage",), ("subarachnoid_hemorrhage",), _EXACT),
        LabelRule(subdural, (), SUBDURAL, "How old it is is not said: present leaves both unknown."),
        LabelRule(epidural, ("epidural_hematoma",), ("epidural_hematoma",), _EXACT),
    )


def no_bleed_rule(name: str) -> LabelRule:
    """Return the rule for "any bleeding": absent rules out every kind, present says nothing of one."""
    absent = (
        *PARENCHYMAL,
        *SUBDURAL,
        "intraventricular_hemorrhage",
        "subarachnoid_hemorrhage",
        "epidural_hematoma",
    )
    return LabelRule(name, (), absent, "No bleeding at all rules out each kind that the cohort labels.")
