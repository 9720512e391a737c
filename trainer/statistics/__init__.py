"""Statistics of classifiers: a quantity a file, each with its source. No torch."""
