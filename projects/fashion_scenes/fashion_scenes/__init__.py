"""Scenes composed of real garments, and questions about them; see README.md."""
