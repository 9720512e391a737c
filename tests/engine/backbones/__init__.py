"""Each backbone against the names, shapes and numbers of its published network."""
