"""One file per finding that the phantom can paint; `registry` discovers them."""
