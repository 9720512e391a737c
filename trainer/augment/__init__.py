"""Augmentation of prepared volumes in three dimensions: one transform a file, every one replayed from its numbers."""
