"""The commands, one file each. Imported at every start: only the standard library at the top of these files."""
