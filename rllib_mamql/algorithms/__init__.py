"""The algorithms of this package: a folder each, and the registry that names them."""
