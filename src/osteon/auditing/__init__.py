"""What is wrong with a dataset, found and ranked before anyone trains on it."""
