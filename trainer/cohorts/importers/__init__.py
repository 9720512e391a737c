"""Importers of labelled cohorts: one file each, found by the registry."""
