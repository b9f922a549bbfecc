"""Single files of a wheel, from the package index or from this machine."""
