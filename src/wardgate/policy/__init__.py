"""May this command run on this account? Verdicts are values; nothing here does anything."""
