"""A run of the BIDS-App: planned, built, executed and recorded."""
