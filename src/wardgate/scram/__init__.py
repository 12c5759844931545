"""SASL as MongoDB speaks it, without a wire: SCRAM (both sides' building blocks, and the client as a small machine),
and the clients of PLAIN, MONGODB-OIDC and MONGODB-AWS behind the same interface."""
