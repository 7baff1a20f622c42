"""The one place that wires settings to store, engines, services and the application.

Belongs here: constructing things in the right order, opening and closing them, logging.

Banned here: anything a test would want to decide differently; that is an argument.
"""
