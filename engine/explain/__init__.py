"""Explanations of a prediction: the exact ledger."""
