"""Running the classifier. `messages` is free of torch, so that the window may import it."""
