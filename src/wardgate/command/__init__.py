"""What a request is about: its name, namespaces and effect, and how it is recorded without its secrets."""
