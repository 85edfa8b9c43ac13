"""Labels that people make of a dataset's cases."""
