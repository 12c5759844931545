"""`wardgate demo`: the whole product on one machine, against a real MongoDB.

It starts the other programs as processes, through the same commands that a person would type, and imports none of them.
"""
