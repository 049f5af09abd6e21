"""Which model and which images: what tools/analyze.py measures."""
