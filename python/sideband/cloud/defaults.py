"""What holds unless an argument says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DEFAULT_API_URL", "default_api_url", "default_home"]

DEFAULT_API_URL = "http://127.0.0.1:8080"
"""Where `sideband serve` listens on this machine."""


def default_api_url() -> str:
    """Return the control plane's address: `SIDEBAND_API_URL`, else `DEFAULT_API_URL`."""
    return os.environ.get("SIDEBAND_API_URL") or DEFAULT_API_URL


def default_home() -> Path:
    """Return the folder of pins and keys: `SIDEBAND_HOME`, else the platform's folder for configuration."""
    home = os.environ.get("SIDEBAND_HOME")
    if home:
        return Path(home)
    import platformdirs

    return platformdirs.user_config_path("sideband")
