"""One record of a run: all that lies in a work folder, read once, without a model."""
