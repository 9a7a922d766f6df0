"""Records: what was done to an image, as types that are written to files and read again.

Steps write them, sidecars and QC files hold them, reports read the same types.  A key of a
file stands once: where its record is written and read.
"""
