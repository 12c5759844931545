"""The gateway: it logs in to MongoDB in the user's place, records every command and ends what must end."""
