"""The local proxy: loopback listeners on one side, one TLS stream to the gateway for each connection on the other.

It moves bytes and reads none of them. What it must know (which members there are, when the session ends) comes in
frames on the control stream.
"""
