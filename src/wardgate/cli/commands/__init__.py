"""One file a topic; each command parses its options, asks the API, and prints."""
