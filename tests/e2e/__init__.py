"""The broker with Kubernetes around it: a real API server, the real Service Catalog, real Helm."""
