"""Backbones, MoLRE, and model packages. `manifest`, `library` and `verify` are free of torch."""
