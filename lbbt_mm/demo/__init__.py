"""A trained model on a local page: give it a picture, read what it says."""
