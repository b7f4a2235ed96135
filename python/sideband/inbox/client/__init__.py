"""The inbox from outside: three bridges that receive, the chain that falls back, and the client that sends."""
