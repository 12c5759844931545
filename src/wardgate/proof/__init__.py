"""Proof: whether stored frames, epochs and seals are what was recorded, and if not, what was done to them and where.

Pure, and small enough to be read whole: it needs no MongoDB library and shares no code with what writes chains, so it
serves as a second opinion on them. The control plane runs it on its store, the command line on an exported bundle with
nothing but the published key. Law: `verified` is said only where a genuine final seal covers every frame.
"""
