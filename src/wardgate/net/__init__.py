"""Hands: everything that touches sockets, TLS, the clock, randomness and logs, for all programs."""
