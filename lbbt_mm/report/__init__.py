"""Numbers -> tables, figures and one HTML page. Knows no model."""
