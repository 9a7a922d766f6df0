"""The Nipype graphs, one a file; imported as ``bids_sr.workflows``."""
