"""One file for each change of the schema, in a single line of descent."""
