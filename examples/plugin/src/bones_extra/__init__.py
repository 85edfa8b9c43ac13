"""A network, a loss and a form of export for osteon."""
