"""The control plane: tokens, procedures, stores."""
