"""What a smoke run makes of catalogs and credentials."""
