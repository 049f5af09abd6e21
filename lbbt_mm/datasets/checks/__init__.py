"""What is wrong with the files of a dataset, in one sentence: read ``guard`` first."""
