"""How things are recorded: what a record is, how it becomes bytes, how bytes become a chain that can be checked.

Pure: no socket, clock, randomness, environment or log. The spool's writer lives in `gateway/spool/`, the store in
`control/records/`; both speak the format that is fixed here.
"""
