"""Files that come with the package; read them with ``importlib.resources``."""
