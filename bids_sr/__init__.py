"""Super-resolution of thick-slice clinical MRI as a BIDS-App and a library."""

__version__ = "0.1.0"
