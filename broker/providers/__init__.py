"""Where the server of a database comes from; a new provider is one new module here.

Belongs here: choosing a server. What happens on it is the business of ``broker/postgres/``.
"""
