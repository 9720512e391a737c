"""From an acquired head CT to the slices that the classifier reads: one step a file."""
