"""Identity keys, pin stores and trust policies."""
