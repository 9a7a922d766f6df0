"""The two commands: ``bids_sr`` (a BIDS dataset) and ``bids_sr-tools`` (single images)."""
