"""SBRP: the end-to-end encrypted session between a client and a daemon."""
