"""The control plane: who may use which account, the credentials, the CA, and what was recorded.

Goes by features, each a folder: `model` (tables), `store` (queries), `service` (rules, with explicit dependencies,
raising ProblemError), `routes` (HTTP; every route declares a permission). Imports go one way:
db < vault < audit_log < identity < projects < fleet < resources < access < records < web. A neighbour may use a
feature's service,
never its store. `services.py` wires them, `web/app.py` puts them on HTTP, `command.py` is what a person starts.
"""
