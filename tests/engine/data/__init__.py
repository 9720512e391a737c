"""Fixture stores, one per released revision."""
