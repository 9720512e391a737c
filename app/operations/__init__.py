"""What the app does, one operation a function; no Qt."""
