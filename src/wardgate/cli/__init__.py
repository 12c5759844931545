"""The command line: asks the control plane, and is the local proxy of an access session.

It moves bytes and knows no MongoDB beyond printing a URI. Everything heavy is imported where it is used, because a
person types these commands ten times a day and waits for each.
"""
