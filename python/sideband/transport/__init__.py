"""Message transports: the interface, WebSocket, and a memory pair."""
