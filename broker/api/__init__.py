"""The Open Service Broker API over HTTP.

Belongs here: everything that knows HTTP. JSON in, domain requests out, and back again.

Banned here: decisions. A route translates and calls one verb of ``broker/service/``.
"""
