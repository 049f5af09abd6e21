"""Features of a frozen model, taken once, and the linear classifier on them."""
