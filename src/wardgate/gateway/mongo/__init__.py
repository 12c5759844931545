"""The way to MongoDB: dialling, TLS, login, topology, the connection test, and the kill-off at a session's end."""
