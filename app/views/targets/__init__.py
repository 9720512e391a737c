"""What each action does in the review window, a file an area."""
