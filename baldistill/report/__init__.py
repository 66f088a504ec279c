"""Pages, pictures and tables from artifacts alone: no ray, no torch."""
