"""The reproduction of the paper (arXiv 2604.01833); see projects/paper/README.md."""
