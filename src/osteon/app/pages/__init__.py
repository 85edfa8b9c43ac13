"""The pages, one module for each: `register(studio)` puts it onto the server."""
