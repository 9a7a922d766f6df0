"""The seed of all that is drawn by chance, where none is given: one for every command and call."""

DEFAULT_SEED = 20177
