"""SBP: framing, RPC and event envelopes, and the extensions of a session, without I/O."""
