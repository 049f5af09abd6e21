"""What comes with a stranger's file is read as data and never run."""
