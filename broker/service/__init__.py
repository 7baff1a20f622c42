"""The verbs of the protocol, one file each: read state, decide, record, run or hand over.

Belongs here: the order of things. What is read before what, what is recorded before what happens.

Banned here: HTTP, SQL and drivers. What a verb needs from the outside is a protocol in
``ports``.
"""
