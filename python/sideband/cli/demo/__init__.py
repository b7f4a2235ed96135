"""`sideband demo`: the whole path on one machine, each part in its own process."""
