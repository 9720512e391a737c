"""Evented view-models of the review window; plain classes with psygnal signals, no Qt."""
