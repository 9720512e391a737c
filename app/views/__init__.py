"""The window: PySide6 widgets over the view-models."""
