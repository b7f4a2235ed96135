"""The server process: control plane and relay on one listener, the private port beside them."""
