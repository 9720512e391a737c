"""Backbones × arms × seeds on one cohort: the paper's Table 2 and Figures 2 and 3, on whatever cohort there is."""
