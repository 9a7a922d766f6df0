"""The Nipype graphs, one per file; imported as ``bids_sr.workflows``."""
