"""Synthetic head CT with painted findings and true masks: `study` makes one, `cohort` writes it."""
