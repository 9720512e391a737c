"""Where studies with labels come from: one importer a file."""
