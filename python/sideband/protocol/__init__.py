"""SBP without I/O: frames, envelopes, fragments, resumption."""
