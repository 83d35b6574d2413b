"""Moving bytes between descriptors without reading meaning into them."""
