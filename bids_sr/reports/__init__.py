"""Reports: figures, the page of a subject, the page of the group.

Pages are assembled from what lies on disk and work without a network.
"""
