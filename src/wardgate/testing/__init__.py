"""Real servers for the tests, the benchmark and the demo: where they are found, how they are started and ended.

It is not a place for mocks: a real server comes before a fake, and a fake before a mock. Its law: whatever is started
here has a folder and ports of its own and is ended by its own process id.
"""
