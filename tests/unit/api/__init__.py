"""The API: from HTTP to domain requests and back."""
