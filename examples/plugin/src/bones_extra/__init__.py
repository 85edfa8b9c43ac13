"""A network, an encoder, a loss and a form of export for osteon."""
