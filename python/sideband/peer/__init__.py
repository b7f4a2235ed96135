"""Peers: lifecycle, RPC, events, negotiators, server."""
