"""The relay: joins local proxies and gateways and cannot read what it carries."""
