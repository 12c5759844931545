"""The tunnel's bytes: who is who in certificates and server names, routes, frames and ClientHellos. Pure."""
