"""A run, or several, as one page that people look at: `geoagent report RUN…`."""
