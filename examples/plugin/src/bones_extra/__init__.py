"""A network, an encoder, a loss, a measure, a reader and a form of export for osteon."""
