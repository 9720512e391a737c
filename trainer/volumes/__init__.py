"""Prepared volumes on disk and in batches, for training end to end."""
