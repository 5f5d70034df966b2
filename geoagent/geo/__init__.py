"""Geography without a network: distances, a gazetteer, a geocoder, comparison of names."""
