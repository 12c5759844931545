"""The gateway's end of the tunnel: control connections to relays, dial-backs, the direct route, and who may come in."""
