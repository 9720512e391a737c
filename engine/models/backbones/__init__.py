"""Backbones: one file each. `registry` discovers them; nothing here imports torch until a backbone is built."""
