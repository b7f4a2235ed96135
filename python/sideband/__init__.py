"""End-to-end encrypted peers through a relay that sees ciphertext only."""
