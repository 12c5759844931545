"""MongoDB's messages: cutting, reading, building and rewriting them. Nothing here knows what a command means."""
