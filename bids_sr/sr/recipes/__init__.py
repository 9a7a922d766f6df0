"""The recipes that turn files into weights: one file each."""
