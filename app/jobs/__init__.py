"""Long work: lanes, the compute worker and the trainer. QtCore only."""
