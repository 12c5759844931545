"""The HTTP contract: models of every body, problem documents, and the client that speaks them."""
