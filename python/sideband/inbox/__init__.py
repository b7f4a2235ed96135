"""Store and forward: an inbox at a server, and bridges by which its owner receives over whatever transport works."""
