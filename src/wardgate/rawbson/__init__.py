"""Walking and building BSON documents that stay bytes. No value is decoded but the ones that are asked for."""
