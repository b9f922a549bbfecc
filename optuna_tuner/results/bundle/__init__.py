"""The standard bundle of a trial and of a study: what was run, each request, and the figures that follow from them."""
