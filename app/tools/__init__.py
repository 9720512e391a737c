"""Viewer tools, one a file; no Qt."""
