"""One file per method that draws a map over a slice; `registry` discovers them."""
