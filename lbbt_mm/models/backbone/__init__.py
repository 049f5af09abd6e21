"""A language model's blocks as a vision backbone, and what stands around it."""
