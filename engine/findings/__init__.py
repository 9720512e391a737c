"""The catalogue of the 75 findings."""
