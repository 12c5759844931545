"""SCRAM as MongoDB speaks it: RFC 5802 and RFC 7677, both sides' building blocks, and the client as a small machine."""
