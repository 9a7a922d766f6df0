"""Several stacks of one contrast made one volume: registered, matched, fused."""
