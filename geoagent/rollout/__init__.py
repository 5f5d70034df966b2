"""Rollouts with tools: zooming into the image and searching the web (GeoVista)."""
