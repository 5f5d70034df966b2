"""The commands of `geoagent`, one a module; each has `add`, which makes its parser."""
