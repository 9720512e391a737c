"""Results and corrections on their way out: one file a format."""
