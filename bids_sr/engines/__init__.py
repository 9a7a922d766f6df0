"""External tools as functions from Volume to Volume.

Each engine is imported only when it is called, and none of its global settings escapes.
"""

BUNDLED_TEMPLATE = "MNI152"
"""The brain template that comes with nilearn, without a download."""
