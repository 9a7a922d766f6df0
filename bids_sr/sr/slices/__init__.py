"""What the acquired slices say: how they were taken, and whether a result agrees."""
