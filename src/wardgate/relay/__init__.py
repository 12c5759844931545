"""The relay: joins local proxies and gateways that can't reach each other, and can't read what it carries."""
