"""The engine: reading, preparing, classifying and explaining head CT. No Qt, no VTK, no user paths."""
