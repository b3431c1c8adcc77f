"""The demonstration: a synthetic thorax, invented patients, and the way they are sent in."""
